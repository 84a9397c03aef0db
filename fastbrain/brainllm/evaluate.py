"""Evaluate a BrainLLM run: decode its scored trials and compare them with every control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

from .._arguments import checked
from .._progress import say
from .._runfiles import read_manifest
from ..data import VoxelStore
from ..decoding import Sampling
from ..decoding.texts import choose_engine
from ..errors import CheckpointError, InputError
from ..evaluation.analyses.linear_baseline import fit_linear_baseline
from ..evaluation.analyses.partners import (
    have_partners_across_runs,
    kept_apart,
    partners_across_runs,
    partners_within_runs,
)
from ..evaluation.analyses.store_ceiling import store_ceiling
from ..evaluation.controls.conditions import DERANGED, TRUE
from ..evaluation.controls.noise import Noise, noise_store
from ..evaluation.controls.run_controls import run_controls
from ..evaluation.decoder_choice import DecoderChoice
from ..evaluation.grouped import groupings_of, with_groups
from ..evaluation.judged import with_fluency
from ..evaluation.metrics.bertscore import BertModel
from ..evaluation.other_store import OtherStore, scored_part
from ..evaluation.protocol import Evaluation, Sample, evaluate_text
from ..evaluation.report.other_decoder import (
    kept_in,
    manifest_with,
    parts_with,
    place_of,
    recipe_with,
)
from ..evaluation.report.outputs import check_outputs, run_parts, write_outputs
from ..evaluation.report.run_facts import read_config, run_facts
from ..evaluation.run_store import open_store
from ..evaluation.threads import one_thread
from .controls import BrainLLMDecoder
from .methods import recipe_of
from .run_decoder import check_decoder, open_decoder
from .saving import KIND, SavedBrainLLM, load_brainllm


@checked
def open_brainllm_run(
    run: str | Path, *, store: str | Path | None = None, device: str = "cpu"
) -> tuple[SavedBrainLLM, VoxelStore, dict[str, Any]]:
    """Load a run's model and the store it was trained on.

    Parameters
    ----------
    run : str or Path
    store : str or Path, optional
        Current path of the store; see :func:`fastbrain.evaluation.open_run`.
    device : str

    Raises
    ------
    CheckpointError
        The folder is not a BrainLLM run, the run is not finished, a file is damaged, or its store
        or language model is missing or was changed.
    """
    manifest = read_manifest(run, function="open_brainllm_run")
    if manifest.get("kind") != KIND:
        raise CheckpointError(f"open_brainllm_run: {run} must be a run of BrainLLM, got another.")
    found = open_store(run, manifest, store, function="open_brainllm_run")
    return load_brainllm(Path(run) / "model", store=found, device=device), found, manifest


def brainllm_decoder(
    saved: SavedBrainLLM,
    prompts: Sequence[str] = (),
    sampling: Sampling | None = None,
    *,
    engine: bool = False,
) -> BrainLLMDecoder:
    """Build the decoder for the controls from a saved model, with the text lengths of training."""
    card = saved.card
    return BrainLLMDecoder(
        saved.model,
        prompts=prompts if any(prompts) else (),
        sampling=sampling,
        max_prompt_tokens=card.max_prompt_tokens,
        # a test text may be longer than any of training
        max_text_tokens=4 * card.max_text_tokens,
        end=card.end,
        engine=engine,
    )


def refuse_unknown_subject(function: str, value: str | None) -> None:
    """Raise for an option that only models with a table of subjects have.

    Raises
    ------
    InputError
    """
    if value is not None:
        raise InputError(
            f"{function}: unknown_subject must be left out for a run of BrainLLM, which has no "
            f"table of subjects, got {value!r}."
        )


@checked
def evaluate_brainllm(
    saved: SavedBrainLLM,
    data: VoxelStore,
    ids: Sequence[str],
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
    saved : SavedBrainLLM
    data : VoxelStore
    ids : sequence of str
        Test trials; nothing was fitted on them.
    sampling, count, seed, bert, within_runs, engine, decoder
        See :func:`evaluate_brainllm_run`.
    linear : bool
        Whether to fit the linear baseline.
    """
    choice = decoder or DecoderChoice()
    trials = [data.by_id[t] for t in ids]
    apart = kept_apart(trials)
    prompts = saved.card.texts_before(trials)
    if within_runs:
        partners = partners_within_runs(trials, count=count, seed=seed)
    else:
        partners = partners_across_runs(trials, apart, same=prompts, count=count, seed=seed)
    check_decoder(saved, data, ids, choice, function="evaluate_brainllm")
    engine, by = choose_engine(saved.model.llm, sampling, engine and not choice.own)
    own = brainllm_decoder(saved, prompts, sampling, engine=engine)
    opened = open_decoder(saved, data, own, choice, seed=seed)
    brains = {TRUE: opened.windows(data, ids)}
    for kind in get_args(Noise):
        # one brain for each prompt
        same = kind == "zero brain" and not any(prompts)
        view: Any = noise_store(data, kind, seed=seed)
        brains[kind] = opened.windows(view, ids[:1] if same else ids)
    train = [data.by_id[t] for t in data.split.train]
    train_texts = [t.text for t in train]
    found = run_controls(
        opened.decoder,
        brains,
        [t.text for t in trials],
        partners,
        blocks=[t.run_id for t in trials],
        prompts=prompts if any(prompts) else (),
        train_texts=train_texts,
        train_prompts=saved.card.texts_before(train) if saved.card.before == "instruction" else (),
        train_brains=None if any(prompts) else opened.windows(data, data.split.train),
    )
    said = found[TRUE].texts
    assert said is not None
    samples = [
        Sample(t.trial_id, t.subject, t.run_id, t.text, text)
        for t, text in zip(trials, said, strict=True)
    ]
    ridge = fit_linear_baseline(data, ids, bert=bool(bert), seed=seed) if linear else None
    result = evaluate_text(
        samples, found, seed=seed, bert=bert, linear=ridge, train_texts=train_texts
    )
    facts: dict[str, Any] = {
        "partners_exclude": list(apart),
        "prompt": {"before": saved.card.before, "length": saved.card.prompt_length},
        "ci_unit": "run_id",
        "noise_ceiling": store_ceiling(data, ids, seed=seed),
        "decoder": opened.facts,
        **by,
    }
    if within_runs:
        facts["partners_exclude"] = []
        facts["partners"] = "the same run, at least window + delay volumes away; no p for them"
        result = result.without_p(DERANGED)
    return replace(result, facts={**result.facts, **facts})


@one_thread()
@checked
def evaluate_brainllm_run(
    run: str | Path,
    *,
    store: str | Path | None = None,
    other: OtherStore | None = None,
    sampling: Sampling | None = None,
    count: int = 100,
    seed: int = 0,
    bert: bool | BertModel = True,
    within_runs: bool = False,
    participants: str | Path | None = None,
    by: Sequence[str] = (),
    device: str = "cpu",
    engine: bool = False,
    fluency_model: str | None = None,
    decoder: DecoderChoice | None = None,
) -> Evaluation:
    """Evaluate a BrainLLM run and write the results into its folder.

    The files are those of :func:`fastbrain.evaluate_run`.

    Parameters
    ----------
    run : str or Path
    store : str or Path, optional
        Current path of the store; see :func:`open_brainllm_run`.
    other : OtherStore, optional
        Another data set to score; see :func:`fastbrain.evaluate_run`.
    sampling : Sampling, optional
    count : int
        Number of derangements, at least 100; a partner never comes from the same run nor, if all
        trials name a story, from the same story.
    seed, bert
        As in :func:`fastbrain.evaluation.evaluate_text`.
    within_runs : bool
        See :func:`fastbrain.evaluate_run`.
    participants, by, engine, fluency_model, decoder
        As in :func:`fastbrain.evaluate_run`.
    device : str

    Returns
    -------
    Evaluation

    Raises
    ------
    CheckpointError
        See :func:`open_brainllm_run`.
    StoreError, LeakError, InputError
        See :func:`fastbrain.evaluation.other_store.scored_part`.
    DiskError
        The run folder is not writable; this is checked before anything is computed.
    CohortError
        A column or a scored person is not in `participants`.
    """
    saved, data, manifest = open_brainllm_run(run, store=store, device=device)
    place = scored_part(run, manifest, data, other, function="evaluate_brainllm_run")
    data, ids, held = place.store, place.ids, place.held
    choice = decoder or DecoderChoice()
    check_decoder(saved, data, ids, choice, function="evaluate_brainllm_run")
    shown, out = manifest_with(place.manifest, choice), place_of(place.out, choice)
    parts = parts_with(run_parts(run, data, shown, held=held), choice)
    check_outputs(out, function="evaluate_brainllm_run", count=count, judge=fluency_model)
    recipe = recipe_of(saved, manifest, read_config(run, function="evaluate_brainllm_run"))
    about = run_facts(
        run, data, shown, recipe_with(recipe, choice), history=parts.history, device=device,
        held=len(held),
    )  # fmt: skip
    trials = [data.by_id[t] for t in ids]
    groupings = groupings_of(trials, participants, by)
    if (held or other) and not within_runs:
        within_runs = not have_partners_across_runs(trials)
        if within_runs:
            say("partners are taken from within the runs, as no other runs have any: no p for them")
    result = evaluate_brainllm(
        saved, data, ids, sampling=sampling, count=count, seed=seed, bert=bert,
        within_runs=within_runs, engine=engine, decoder=kept_in(choice, out),
    )  # fmt: skip
    facts = {
        # a sentence decoder has options of its own, among its facts
        "sampling": None if choice.own else asdict(sampling or Sampling()),
        "held": held,
        "split": manifest.get("split"),
        "audit": place.manifest.get("audit"),
        **place.facts,
    }
    result = replace(result, facts={**result.facts, **facts})
    result = with_groups(result, groupings, seed=seed)
    result = with_fluency(result, fluency_model, device=device)
    write_outputs(out, result, parts, about)
    return result
