"""Evaluate a trained run: decode test trials, compare with controls, write the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._progress import say
from ..data import VoxelStore, WindowLoader
from ..decoding import Sampling
from ..decoding.texts import choose_engine
from ..evaluation.analyses.linear_baseline import fit_linear_baseline
from ..evaluation.analyses.partners import (
    have_partners_across_runs,
    kept_apart,
    partners_within_runs,
)
from ..evaluation.analyses.store_ceiling import store_ceiling
from ..evaluation.controls.conditions import DERANGED, TRUE
from ..evaluation.decoder_choice import DecoderChoice
from ..evaluation.grouped import groupings_of, with_groups
from ..evaluation.judged import with_fluency
from ..evaluation.metrics.bertscore import BertModel
from ..evaluation.other_store import OtherStore, scored_part
from ..evaluation.protocol import Evaluation, Sample, evaluate_text
from ..evaluation.report.html import ReportParts
from ..evaluation.report.other_decoder import (
    kept_in,
    manifest_with,
    parts_with,
    place_of,
    recipe_with,
)
from ..evaluation.report.outputs import check_outputs, run_parts, write_outputs
from ..evaluation.report.run_facts import read_config, run_facts
from ..evaluation.threads import one_thread
from .controls import check_test_part, control_model
from .decode import token_saliency
from .joint_run import training_folder
from .methods import recipe_of
from .model import LLM4Brain
from .open_run import open_run
from .run_decoder import check_decoder, open_decoder

_BATCH = 32


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
    decoder: DecoderChoice | None = None,
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
    decoder : DecoderChoice, optional
        Decoder that is run on all controls in place of the model as it was trained. What it fits
        is fitted on the training part, the weights of a mixture on the validation part.

    Raises
    ------
    InputError
        A trial belongs to the training or validation part, no derangement exists, or the model or
        store cannot be used with `decoder`.
    """
    check_test_part("evaluate_model", store, trial_ids)
    choice = decoder or DecoderChoice()
    trials = [store.by_id[t] for t in trial_ids]
    apart = kept_apart(trials)
    partners = partners_within_runs(trials, count=count, seed=seed) if within_runs else None
    check_decoder(model, store, trial_ids, choice, function="evaluate_model")
    engine, by = choose_engine(model.llm, sampling, engine and not choice.own)
    opened = open_decoder(
        model, store, trial_ids, choice, sampling=sampling, engine=engine, seed=seed
    )
    found = control_model(
        model, store, trial_ids, apart=apart, count=count, seed=seed, partners=partners,
        decoder=opened,
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
    facts["decoder"] = opened.facts
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
    decoder: DecoderChoice | None = None,
) -> Evaluation:
    """Evaluate a run and write the results into its folder.

    The files are ``metrics.json``, ``samples.parquet``, ``subjects.md``, ``report.html`` and, with
    figures, methods section, references and tables for a paper, ``paper/``. Those of another
    `decoder` than the run's own go to ``decoders/NAME``.

    Parameters
    ----------
    run : str or Path
    store, device, unknown_subject
        See :func:`open_run`.
    other : OtherStore, optional
        Another data set to score in place of the test part, with an audit against the training
        part. The results go to ``evaluations/NAME`` of the run.
    sampling, count, seed, bert, within_runs, engine, decoder
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
    choice = decoder or DecoderChoice()
    check_decoder(model, data, scored, choice, function="evaluate_run")
    manifest = manifest_with(place.manifest, choice)
    out = place_of(place.out, choice)
    home = training_folder(run, manifest)
    parts = parts_with(run_parts(home, data, manifest, parts, held=held), choice)
    check_outputs(out, function="evaluate_run", count=count, judge=fluency_model)
    groupings = groupings_of([data.by_id[t] for t in scored], participants, by)
    if (held or other) and not within_runs:
        within_runs = not have_partners_across_runs([data.by_id[t] for t in scored])
        if within_runs:
            say("partners are taken from within the runs, as no other runs have any: no p for them")
    recipe = recipe_of(model, manifest, read_config(home, function="evaluate_run"))
    about = run_facts(
        home, data, manifest, recipe_with(recipe, choice), history=parts.history, device=device,
        held=len(held),
    )  # fmt: skip
    result = evaluate_model(
        model, data, scored, sampling=sampling, count=count, seed=seed, bert=bert,
        within_runs=within_runs, engine=engine, decoder=kept_in(choice, out),
    )  # fmt: skip
    known = {
        "adaptation": manifest["adaptation"],
        # a sentence decoder has options of its own, among its facts
        "sampling": None if choice.own else asdict(sampling or Sampling()),
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
    if not choice.own:
        loader = WindowLoader(data, scored, batch_size=_BATCH, shuffle=False)
        parts = replace(parts, saliency=token_saliency(model, loader).numpy())
    write_outputs(out, result, parts, about)
    return result
