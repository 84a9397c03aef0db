"""Evaluate a trained run: decode test trials, compare with controls, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._progress import say
from .._runfiles import read_manifest
from ..data import VoxelStore, WindowLoader
from ..decoding import Sampling
from ..decoding.texts import choose_engine
from ..errors import CheckpointError, InputError
from ..evaluation.analyses.linear_baseline import fit_linear_baseline
from ..evaluation.analyses.partners import (
    have_partners_across_runs,
    kept_apart,
    partners_within_runs,
)
from ..evaluation.analyses.store_ceiling import store_ceiling
from ..evaluation.controls.conditions import DERANGED, TRUE
from ..evaluation.grouped import groupings_of, with_groups
from ..evaluation.judged import with_fluency
from ..evaluation.metrics.bertscore import BertModel
from ..evaluation.other_store import OtherStore, scored_part
from ..evaluation.protocol import Evaluation, Sample, evaluate_text
from ..evaluation.report.html import ReportParts
from ..evaluation.report.outputs import check_outputs, run_parts, write_outputs
from ..evaluation.report.run_facts import read_config, run_facts
from ..evaluation.run_store import one_grid, open_store
from ..evaluation.threads import one_thread
from .controls import control_model
from .decode import token_saliency
from .joint_run import training_folder
from .methods import recipe_of
from .model import LLM4Brain
from .saving import from_pretrained

_BATCH = 32


@checked
def open_run(
    run: str | Path,
    *,
    store: str | Path | None = None,
    device: str = "cpu",
    unknown_subject: str | None = None,
) -> tuple[LLM4Brain, VoxelStore, dict[str, Any]]:
    """Load the model of a run and the store of its training.

    Parameters
    ----------
    run : str or Path
        Run folder from ``fastbrain train`` or ``fastbrain adapt``; of a run on several grids, the
        folder ``grids/NAME`` in it.
    store : str or Path, optional
        Current path of the store. Default: its path at training, then the same path relative to
        the run folder.
    device : str
    unknown_subject : {"refuse", "mean"}, optional
        What a model with a subject table does for a subject without an entry; default: the setting
        of training.

    Returns
    -------
    model : LLM4Brain
    store : VoxelStore
    manifest : dict

    Raises
    ------
    CheckpointError
        Training is not finished, a file of the run is damaged, the store or language model is
        missing or differs from training, or the run is on several grids.
    """
    manifest = _manifest_of(run)
    found = open_store(run, manifest, store, function="open_run")
    model = open_model(run, like=found, device=device, unknown_subject=unknown_subject)
    return model, found, manifest


@checked
def open_model(
    run: str | Path,
    *,
    like: VoxelStore,
    device: str = "cpu",
    unknown_subject: str | None = None,
) -> LLM4Brain:
    """Load the model of a run for windows prepared like those of a store; see :func:`open_run`."""
    manifest = _manifest_of(run)
    model = from_pretrained(
        training_folder(run, manifest) / "model",
        device=device,
        grid=like.grid,
        tr=like.tr,
        part=manifest.get("joint", {}).get("grid"),
    )
    if unknown_subject is not None:
        _meet_unknown(model, unknown_subject)
    return model


def _manifest_of(run: str | Path) -> dict[str, Any]:
    manifest = read_manifest(run, function="open_run")
    own = {"adaptation", "adapt_trials"} <= set(manifest)
    if not own or "kind" in manifest:
        kind = f"'{manifest['kind']}'" if "kind" in manifest else "another kind"
        raise CheckpointError(f"open_run: {run} must be a run of LLM4Brain, got {kind}.")
    one_grid(run, manifest, function="open_run")
    return manifest


@checked
def evaluate_model(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: tuple[str, ...],
    *,
    sampling: Sampling | None = None,
    count: int = 100,
    seed: int = 0,
    bert: bool | BertModel = True,
    within_runs: bool = False,
    linear: bool = True,
    engine: bool = False,
) -> Evaluation:
    """Decode trials and score them together with every control and the linear baseline.

    Parameters
    ----------
    model : LLM4Brain
    store : VoxelStore
    trial_ids : tuple of str
        Test trials; nothing was fitted on them.
    sampling : Sampling, optional
    count : int
        Number of derangements, at least 100. Partners never share a run and, if all trials have a
        story, never share a story.
    seed, bert
        See :func:`evaluate_text`.
    within_runs : bool
        For a test part that is a single run: partners are windows of the same run, at least
        window + delay volumes away. There are too few such shifts for a p against deranged brains,
        so these scores have none.
    linear : bool
        Whether to fit the linear baseline.
    engine : bool
        Whether the decode engine writes the texts, where it runs the language model and the method
        is not ``"sample"``. The texts are the same up to rounding; it is faster on a GPU and for
        few windows, and slower for many windows on a CPU.

    Raises
    ------
    InputError
        A trial belongs to the training or validation part, or no derangement exists.
    """
    trials = [store.by_id[t] for t in trial_ids if t in store.by_id]
    apart = kept_apart(trials)
    partners = partners_within_runs(trials, count=count, seed=seed) if within_runs else None
    engine, by = choose_engine(model.llm, sampling, engine)
    found = control_model(
        model, store, trial_ids, apart=apart, sampling=sampling, count=count, seed=seed,
        partners=partners, engine=engine,
    )  # fmt: skip
    said = found[TRUE].texts
    assert said is not None
    samples = [
        Sample(t.trial_id, t.subject, t.run_id, t.text, text)
        for t, text in zip(trials, said, strict=True)
    ]
    ridge = fit_linear_baseline(store, trial_ids, bert=bool(bert), seed=seed) if linear else None
    known = [store.by_id[t].text for t in store.split.train]
    result = evaluate_text(samples, found, seed=seed, bert=bert, linear=ridge, train_texts=known)
    facts: dict[str, Any] = {"partners_exclude": list(apart), "ci_unit": "run_id", **by}
    facts["noise_ceiling"] = store_ceiling(store, trial_ids, seed=seed)
    if within_runs:
        facts["partners_exclude"] = []
        facts["partners"] = "the same run, at least window + delay volumes away; no p for them"
        result = result.without_p(DERANGED)
    return replace(result, facts={**result.facts, **facts})


@one_thread()
@checked
def evaluate_run(
    run: str | Path,
    *,
    store: str | Path | None = None,
    other: OtherStore | None = None,
    sampling: Sampling | None = None,
    count: int = 100,
    seed: int = 0,
    bert: bool | BertModel = True,
    within_runs: bool = False,
    device: str = "cpu",
    unknown_subject: str | None = None,
    participants: str | Path | None = None,
    by: Sequence[str] = (),
    facts: dict[str, Any] | None = None,
    parts: ReportParts | None = None,
    engine: bool = False,
    fluency_model: str | None = None,
) -> Evaluation:
    """Evaluate a run and write the results into its folder.

    The files are ``metrics.json``, ``samples.parquet``, ``subjects.md``, ``report.html`` and, with
    figures, methods section, references and tables for a paper, ``paper/``.

    Parameters
    ----------
    run : str or Path
    store, device, unknown_subject
        See :func:`open_run`.
    other : OtherStore, optional
        Another data set to score in place of the test part, with an audit against the training
        part. The results go to ``evaluations/NAME`` of the run.
    sampling, count, seed, bert, within_runs, engine
        See :func:`evaluate_model`. `within_runs` is also taken where held windows leave no partner
        in another run, or another data set has a single run; that is printed, and recorded in
        ``metrics.json``.
    participants : str or Path, optional
        Table of people (BIDS ``participants.tsv``), for scores by the columns `by`.
    by : sequence of str
        Columns of `participants`, for instance sex and age. Scores by session are computed if
        there are two or more sessions.
    facts : dict, optional
        More entries for ``metrics.json``.
    parts : ReportParts, optional
        Title and notes of the report; the function fills in the rest.
    fluency_model : str, optional
        Second language model, a folder or a name on the hub, for the surprise of all texts.

    Raises
    ------
    CheckpointError
        See :func:`open_run`.
    StoreError, LeakError, InputError
        See :func:`fastbrain.evaluation.other_store.scored_part`.
    DiskError
        The run folder is not writable; nothing was computed.
    CohortError
        A column or a scored person is not in `participants`.
    """
    run = Path(run)
    model, data, manifest = open_run(
        run, store=store, device=device, unknown_subject=unknown_subject
    )
    prompt = model.card.prompt
    place = scored_part(
        run, manifest, data, other, prompts=(prompt,) if prompt else (), function="evaluate_run"
    )
    data, scored, held = place.store, place.ids, place.held
    manifest = dict(place.manifest)
    home = training_folder(run, manifest)
    parts = run_parts(home, data, manifest, parts, held=held)
    check_outputs(place.out, function="evaluate_run", count=count, judge=fluency_model)
    groupings = groupings_of([data.by_id[t] for t in scored], participants, by)
    if (held or other) and not within_runs:
        within_runs = not have_partners_across_runs([data.by_id[t] for t in scored])
        if within_runs:
            say("partners are taken from within the runs, as no other runs have any: no p for them")
    recipe = recipe_of(model, manifest, read_config(home, function="evaluate_run"))
    about = run_facts(
        home, data, manifest, recipe, history=parts.history, device=device, held=len(held)
    )
    result = evaluate_model(
        model, data, scored, sampling=sampling, count=count, seed=seed, bert=bert,
        within_runs=within_runs, engine=engine,
    )  # fmt: skip
    known = {
        "adaptation": manifest["adaptation"],
        "sampling": asdict(sampling or Sampling()),
        # runs from before the audit was introduced have no such keys
        "split": manifest.get("split"),
        "audit": manifest.get("audit"),
        "held": held,
        "unknown_subject": None if model.subjects is None else model.subjects.unknown,
        "adapted": manifest.get("adapted"),
    }
    result = replace(result, facts={**result.facts, **known, **place.facts, **(facts or {})})
    result = with_groups(result, groupings, seed=seed)
    result = with_fluency(result, fluency_model, device=device)
    loader = WindowLoader(data, scored, batch_size=_BATCH, shuffle=False)
    parts = replace(parts, saliency=token_saliency(model, loader).numpy())
    write_outputs(place.out, result, parts, about)
    return result


def _meet_unknown(model: LLM4Brain, unknown: str) -> None:
    if model.subjects is None:
        raise InputError(
            f"open_run: unknown_subject must be left out for a model without a subject table, got "
            f"{unknown!r}."
        )
    model.subjects.meet_unknown(unknown)
