"""Few-shot adaptation of a trained model to a new subject with a few labelled runs.

Only the entry of the subject is fitted by default. ``fastbrain evaluate`` and ``decode`` read the
new run folder; its manifest lists the fitted runs, and these are never scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._environment import check_alone, check_environment
from ..._io import new_output, sha256, write_json
from ..._runfiles import read_manifest
from ...data import FitScope, VoxelStore, WindowLoader
from ...data.leaks.fit_scope import statistics_scope
from ...data.store.preparation import PREPARATION, preparation_of, save_preparation
from ...errors import CheckpointError, ConfigError
from ...lm.kept_llm import carry_llm
from ...training.config import OptimConfig
from ...training.few_shot_plan import FewShot as FewShot
from ...training.few_shot_plan import audit_plan, plan_after, split_of_plan
from ...training.few_shot_plan import plan_few_shot as plan_few_shot
from ...training.run import Row
from ...training.run_folder import place_of
from ...training.run_log import run_log
from ...training.trackers import check_trackers
from ..model import LLM4Brain
from ..saving import from_pretrained, save_pretrained
from ..subject_table import subject_table
from .stage_config import LLM4BrainStage
from .stages import stage_two

_OPTIM = OptimConfig(lr=1e-2, weight_decay=0.0)
ADAPT = LLM4BrainStage("adapt", epochs=20, batch_size=8, groups=("subjects",), optim=_OPTIM)


@checked
def adapt(
    run: str | Path,
    store: VoxelStore,
    out: str | Path,
    *,
    subject: str,
    runs: int,
    score_runs: Sequence[str] = (),
    kind: str | None = None,
    adapters: bool = False,
    config: LLM4BrainStage = ADAPT,
    allow_leak: str | None = None,
    device: str = "cpu",
    log: Sequence[str] = (),
    on_epoch: Callable[[Row], None] | None = None,
) -> LLM4Brain:
    """Fit the subject entry of a new subject on the first runs of that subject.

    All other parameters are unchanged, byte for byte, so all other subjects are decoded as before.
    The new entry starts as the mean of all others.

    Parameters
    ----------
    run : str or Path
        Run folder of ``fastbrain train``, or a saved model.
    store : VoxelStore
        Store with the subject; must have the grid, TR, windows and units of the training store.
    out : str or Path
        New run folder.
    subject, runs, score_runs
        See :func:`plan_few_shot`.
    kind : {"embedding", "affine"}, optional
        Kind of the new subject table, for a model without one. All subjects in the training part
        of the store get an identity entry.
    adapters : bool
        Whether to also tune the low-rank adapters of encoder and Q-Former. This changes the
        decoding of all other subjects.
    config : LLM4BrainStage
    allow_leak : str, optional
        Reason to accept a leak.
    device : str
    log : sequence of {"tensorboard", "wandb", "trackio"}
        Trackers that receive the numbers of every epoch, besides ``stages/adapt/log.jsonl``.
    on_epoch : callable, optional
        Receives the row of every finished epoch; what it raises stops training.

    Returns
    -------
    LLM4Brain
        In evaluation mode; saved in ``out/model``.

    Raises
    ------
    CheckpointError
        The store does not fit the model, or a file of the run is damaged.
    DiskError
        `out` is not writable.
    ConfigError
        The model was trained on the subject, has no subject table and `kind` is None, or has a
        table of another kind; or a name in `log` is unknown.
    MissingPartError
        The package of a tracker is not installed.
    TrainingError
        A tracker cannot be opened, or training cannot continue.
    LeakError
        The audit finds a leak between fitted and scored trials, and `allow_leak` is None.
    """
    trackers = check_trackers(log, function="adapt")
    folder = Path(run) / "model" if (Path(run) / "model").is_dir() else Path(run)
    known = (Path(run) / PREPARATION).is_dir() or folder != Path(run)
    base = read_manifest(run, function="adapt") if known else {}
    if "joint" in base or "grids" in base:
        raise CheckpointError(
            f"adapt: {run} must be a run on one grid alone, got one of several grids: a new person "
            "would need weights of another grid. Train again with that person, or on a common grid "
            "(fastbrain prepare --resample)."
        )
    plan, same = plan_after(base, store, subject, runs, score_runs=score_runs)
    check_alone("adapt")
    check_environment(out, function="adapt")
    model = from_pretrained(folder, device=device)
    check_store(model, store)
    split = split_of_plan(store, plan, base=same)
    scopes = [FitScope(f"entry of {plan.subject}", plan.train)]
    if same:  # the model has its own statistics; those of another store are not used
        scopes.append(statistics_scope(store))
    audit = audit_plan(store, split, scopes, allow_leak=allow_leak)
    _give_entry(model, plan.subject, kind, store)
    groups = ("encoder_adapters", "qformer_adapters") if adapters else ()
    out = new_output(out)
    stage = replace(config, groups=(*config.groups, *groups))
    folder_of_log = out / "stages" / "adapt"
    with run_log(
        out,
        [folder_of_log],
        trackers,
        config=stage.to_dict(),
        on_epoch=on_epoch,
        function="adapt",
    ) as each_epoch:
        history = stage_two(
            model,
            _loader(store, plan.train, stage, shuffle=True),
            stage,
            run_dir=folder_of_log,
            prompts=(model.card.prompt,),
            instructions={t.trial_id: t.instruction for t in store.trials if t.instruction},
            val_loader=_loader(store, plan.val, stage, shuffle=False) if plan.val else None,
            on_epoch=each_epoch,
        )
    language = carry_llm(model.card.language, model.card.llm, folder.resolve().parent, out)
    facts = {**asdict(plan), "kind": model.config.subjects, "adapters": adapters}
    facts |= {"base": sha256(folder / "model.safetensors"), "epoch": history.best_epoch}
    made = {**model.card.preprocessing, "adapted": facts}
    card = replace(model.card, preprocessing=made, language=language)
    save_pretrained(model, out / "model", card)
    save_preparation(preparation_of(run, store), out)
    manifest: dict[str, Any] = {
        **{key: base[key] for key in ("readout",) if key in base},
        **place_of(store, out),
        "llm": model.card.llm,
        "language_model": asdict(language),
        "split": split.to_json(),
        "audit": audit.to_json(),
        "adaptation": "few-shot",
        "adapt_trials": [],
        "adapted": facts,
        "scored_trials": list(plan.scored),
        "fit_runs": list(store.fit_runs),
    }
    write_json(out / "manifest.json", manifest)
    model.card = card
    return model.eval()


def check_store(model: LLM4Brain, store: VoxelStore) -> None:
    """Raise an error if the windows of a store do not fit a model.

    Raises
    ------
    CheckpointError
        Grid, TR, volumes per window, scale of the stored integers, units or window differ.
    """
    card = model.card
    made = card.preprocessing
    pairs = {
        "grid": (model.grid.fingerprint(), store.grid.fingerprint()),
        "TR": (card.tr, store.tr),
        "volumes of a window": (model.config.frames, store.window_spec.window_trs),
        "units of a stored step": (model.tokenizer.scale, store.scale),
        "units": (made.get("units", store.units), store.units),
        "window": (made.get("window", asdict(store.window_spec)), asdict(store.window_spec)),
    }
    for name, (ours, theirs) in pairs.items():
        if ours != theirs:
            raise CheckpointError(
                f"adapt: the store must have the {name} of the model ({ours}), got {theirs}. "
                "Prepare it as the store of training was."
            )


def _give_entry(model: LLM4Brain, label: str, kind: str | None, store: VoxelStore) -> None:
    table = model.subjects
    if table is not None and kind not in (None, table.kind):
        raise ConfigError(f"adapt: kind must be that of the model, {table.kind!r}, got {kind!r}.")
    if table is None and kind is None:
        raise ConfigError(
            "adapt: the model must tell people apart, got one that does not. Pass --kind affine "
            "or --kind embedding."
        )
    if table is None:
        trained = {store.by_id[t].subject for t in store.split.train}
        people = tuple(sorted({label, *trained}))
        model.config = replace(model.config, subjects=kind, people=people)
        model.subjects = subject_table(model.config)
        model.to(model.device)
    elif label not in table.people:
        table.add(label)
        model.config = replace(model.config, people=table.people)


def _loader(
    store: VoxelStore, trials: tuple[str, ...], stage: LLM4BrainStage, *, shuffle: bool
) -> WindowLoader:
    size, seed = stage.batch_size, stage.seed
    return WindowLoader(store, trials, batch_size=size, shuffle=shuffle, seed=seed)
