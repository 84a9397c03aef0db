"""A trained model meets a new person: a few labelled runs fit what it knows of that person alone.

The run folder that comes out is one that ``fastbrain evaluate`` and ``decode`` read; its manifest
says which runs were fitted on, and none of them is ever scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._environment import check_environment
from ..._io import new_output, sha256, write_json
from ..._progress import say
from ..._runfiles import read_manifest
from ...data import FitScope, Split, VoxelStore, WindowLoader, audit_trials
from ...data.leaks.fit_scope import statistics_scope
from ...data.leaks.scan_digests import window_digests
from ...errors import CheckpointError, ConfigError, InputError
from ...lm.kept_llm import carry_llm
from ...training.config import OptimConfig, StageConfig
from ...training.run_folder import place_of
from ..model import LLM4Brain
from ..saving import from_pretrained, save_pretrained
from ..subject_table import subject_table
from .few_shot_plan import FewShot as FewShot
from .few_shot_plan import plan_few_shot as plan_few_shot
from .stages import stage_two

_OPTIM = OptimConfig(lr=1e-2, weight_decay=0.0)
ADAPT = StageConfig("adapt", epochs=20, batch_size=8, groups=("subjects",), optim=_OPTIM)


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
    config: StageConfig = ADAPT,
    allow_leak: str | None = None,
    device: str = "cpu",
) -> LLM4Brain:
    """Fit a trained model's entry of one new person on the first runs of that person.

    Everything else stays as it was, byte for byte, so that all people the model knew are decoded
    as before. A new entry starts as the mean of all others.

    Parameters
    ----------
    run : str or Path
        Run folder of ``fastbrain train``, or a saved model.
    store : VoxelStore
        With the person; prepared as the store of training was: grid, TR, windows and units.
    out : str or Path
        New run folder.
    subject, runs, score_runs
        See :func:`plan_few_shot`.
    kind : {"embedding", "affine"}, optional
        For a model without a table of subjects: the one it gets, in which all people of the
        store's training part keep the identity.
    adapters : bool
        Also tune the low-rank adapters of encoder and Q-Former, for this person: people whom the
        model knew are then decoded otherwise than before.
    config : StageConfig
    allow_leak : str, optional
        Why a leak does not matter.
    device : str

    Returns
    -------
    LLM4Brain
        In evaluation mode; saved in ``out/model``.

    Raises
    ------
    CheckpointError
        The store does not fit the model, or a file of the run is damaged.
    DiskError
        `out` cannot be written into.
    ConfigError
        The model knows the person already, has no table and `kind` is None, or has another one.
    LeakError
        What is fitted on is known from what is scored, and `allow_leak` is None.
    """
    plan = plan_few_shot(store, subject, runs, score_runs=score_runs)
    folder = Path(run) / "model" if (Path(run) / "model").is_dir() else Path(run)
    base = read_manifest(run, function="adapt") if folder != Path(run) else {}
    check_environment(out, function="adapt")
    model = from_pretrained(folder, device=device)
    check_store(model, store)
    same = base.get("store_fingerprint") == store.fingerprint()
    if same and any(store.by_id[t].subject == plan.subject for t in store.split.train):
        raise ConfigError(
            f"adapt: subject must be new, got {plan.subject}, on whom the model was trained."
        )
    if same:
        # some test runs of the first training may have been adapted to without their texts
        allowed = set(base["scored_trials"])
        plan = replace(plan, scored=tuple(t for t in plan.scored if t in allowed))
        if not plan.scored:
            raise InputError("adapt: runs must leave a run to score, got none that may be scored.")
    split = _split_of(store, plan, base=same)
    scopes = [FitScope(f"entry of {plan.subject}", plan.train)]
    if same:  # another store's statistics are not used: the model has its own
        scopes.append(statistics_scope(store))
    scans = window_digests(store, store.trials)
    audit = audit_trials(store.trials, split, scans=scans, fits=scopes).check(allow=allow_leak)
    say(f"audit: {audit.summary()}")
    _give_entry(model, plan.subject, kind, store)
    groups = ("encoder_adapters", "qformer_adapters") if adapters else ()
    out = new_output(out)
    stage = replace(config, groups=(*config.groups, *groups))
    history = stage_two(
        model,
        _loader(store, plan.train, stage, shuffle=True),
        stage,
        run_dir=out / "stages" / "adapt",
        prompts=(model.card.prompt,),
        instructions={t.trial_id: t.instruction for t in store.trials if t.instruction},
        val_loader=_loader(store, plan.val, stage, shuffle=False) if plan.val else None,
    )
    language = carry_llm(model.card.language, model.card.llm, folder.resolve().parent, out)
    facts = {**asdict(plan), "kind": model.config.subjects, "adapters": adapters}
    facts |= {"base": sha256(folder / "model.safetensors"), "epoch": history.best_epoch}
    made = {**model.card.preprocessing, "adapted": facts}
    card = replace(model.card, preprocessing=made, language=language)
    save_pretrained(model, out / "model", card)
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
    """Refuse a store whose windows are not what a model reads.

    Raises
    ------
    CheckpointError
        Grid, TR, volumes of a window, step of the stored integers, units or delay are others.
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


def _split_of(store: VoxelStore, plan: FewShot, *, base: bool) -> Split:
    """The split as it is now, for the auditor: the new person's runs beside what trained before."""
    before = store.split
    mine = {*plan.train, *plan.val}
    train = (*(t for t in before.train if base and t not in mine), *plan.train)
    # without a run that validates, the first training's is what there is
    val = plan.val or tuple(t for t in before.val if t not in mine)
    return replace(
        before, train=train, val=val, test=plan.scored, keys=("run_id",), val_keys=("run_id",)
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
    store: VoxelStore, trials: tuple[str, ...], stage: StageConfig, *, shuffle: bool
) -> WindowLoader:
    size, seed = stage.batch_size, stage.seed
    return WindowLoader(store, trials, batch_size=size, shuffle=shuffle, seed=seed)
