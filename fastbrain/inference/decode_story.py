"""Decode the running text of a whole story or run with BrainLLM, window after window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from .._arguments import checked
from .._progress import say
from .._run_kind import run_kind
from .._runfiles import read_manifest
from ..brainllm.saving import load_brainllm
from ..brainllm.story import StorySearch, reconstruct, story_search
from ..brainllm.word_rate import fit_word_rate
from ..data import Trial, VoxelStore, window_faults
from ..data.readers.prompts import texts_before
from ..data.store.preparation import check_like, preparation_of
from ..errors import InputError, some
from ..evaluation.analyses.stories import shifted_partners, story_scores
from ..evaluation.controls.noise import Noise, noise_store
from ..evaluation.metrics.registry import TEXT_METRICS
from ..evaluation.other_store import OtherStore, audit_other_store
from ..evaluation.run_store import open_store
from ..evaluation.scores import Score, with_adjusted
from .decoded_story import DecodedStory, StorySegment

Context = Literal["own", "transcript"]
ALONE = "prompt alone"
_NOISE: Noise = "phase-randomised brain"
_METRICS = tuple(
    metric
    for metric in TEXT_METRICS
    if metric.name in ("bleu1", "bleu2", "rougeL_f", "chrf", "wer")
)


@checked(least={"count": 1})
def decode_story(
    run: str | Path,
    story: str,
    *,
    store: str | Path | None = None,
    search: StorySearch | None = None,
    context: Context = "own",
    count: int = 200,
    device: str = "cpu",
    seed: int = 0,
) -> DecodedStory:
    """Decode all windows of a story, each after the text decoded so far.

    The number of words of a window is predicted by a ridge regression on the training windows.

    Parameters
    ----------
    run : str or Path
        Run folder of BrainLLM.
    story : str
        Name of a story, in every run of it; or id of a run.
    store : str or Path, optional
        Another store in the form of the run's own, or the current path of that.
    search : StorySearch, optional
        Default: the published settings.
    context : {"own", "transcript"}
        Text before a window: the model's own (free-running), or the words of the transcript
        (``Trial.prompt``), which makes text and scores teacher-forced.
    count : int
        Number of shifts for chance and p.
    device : str
    seed : int

    Returns
    -------
    DecodedStory

    Raises
    ------
    InputError
        The run is not of BrainLLM, there is no such story or run, its windows overlap, or
        `context` is "transcript" and no window has a prompt.
    LeakError
        A window of another store that has a transcript was used in training.
    CheckpointError, StoreError
        As in :func:`decode`. The run's own store is needed, for the word rate.
    """
    if context not in ("own", "transcript"):
        raise InputError(f"decode_story: context must be own or transcript, got {context!r}.")
    if run_kind(run, function="decode") != "brainllm":
        raise InputError(f"decode_story: {run} must be a run of BrainLLM, got another system's.")
    manifest = read_manifest(run, function="decode")
    own, given = _stores(run, manifest, store)
    trials = _windows_of(given, story)
    heard = [t for t in trials if t.text.strip()]
    if given is not own and heard:
        # raises if a window to score was used in training
        scored = OtherStore(replace(given, trials=heard), given.path.name)
        audit_other_store(manifest, own, scored)
    saved = load_brainllm(Path(run) / "model", device=device)
    held = window_faults(given, [t.trial_id for t in trials], preparation_of(run, own))
    train = own.split.train
    rate = fit_word_rate(
        saved.windows(own, train).numpy(),
        [len(own.by_id[i].text.split()) for i in train],
        groups=_groups([own.by_id[i] for i in train]),
    )
    part_of = {i: name for name in ("train", "val", "test") for i in own.split.part(name)}
    noise: Any = noise_store(given, _NOISE, seed=seed)
    segments: list[StorySegment] = []
    for run_id in dict.fromkeys(t.run_id for t in trials):
        members = [t for t in trials if t.run_id == run_id]
        ids = [t.trial_id for t in members]
        windows = saved.windows(given, ids)
        counts = [
            0 if t.trial_id in held else int(n)
            for t, n in zip(members, rate.counts(windows.numpy()), strict=True)
        ]
        prompts = None
        if context == "transcript":
            prompts = texts_before(members, "prompt", saved.card.prompt_length)
        texts = [
            reconstruct(saved.model, rows, counts, search=search, prompts=prompts).texts
            for rows in (windows, None, saved.windows(noise, ids))
        ]
        for t, n, *written in zip(members, counts, *texts, strict=True):
            part = "new" if given is not own else part_of.get(t.trial_id, "unused")
            end = round(t.onset + t.duration, 3)
            segments.append(
                StorySegment(
                    *(t.run_id, t.subject, t.trial_id, t.onset, end, part, n),
                    *(*written, t.text, held.get(t.trial_id, "")),
                )
            )
    scores, reason = _scores(segments, given, context, count=count, seed=seed)
    facts = {
        "run": str(run),
        "store": str(given.path),
        "store_fingerprint": given.fingerprint(),
        "story": story,
        "context": context,
        "free_running": context == "own",
        "search": asdict(search or story_search()),
        "seed": seed,
        "not_scored": reason,
    }
    return DecodedStory(tuple(segments), scores, facts)


def _stores(
    run: str | Path, manifest: dict[str, Any], store: str | Path | None
) -> tuple[VoxelStore, VoxelStore]:
    """Open the run's own store, and the one to decode."""
    if store is not None:
        given = VoxelStore.open(store)
        if given.fingerprint() == manifest["store_fingerprint"]:
            return given, given
        own = open_store(run, manifest, function="decode")
        check_like(given, own)
        return own, given
    own = open_store(run, manifest, function="decode")
    return own, own


def _windows_of(store: VoxelStore, story: str) -> list[Trial]:
    """Trials of a story or run, in the order of time within each run."""
    found = [t for t in store.trials if story in (t.story, t.run_id)]
    if not story or not found:
        names = dict.fromkeys(t.story or t.run_id for t in store.trials)
        raise InputError(
            f"decode_story: story must be a story or run of {store.path}, got {story!r}. It has "
            f"{some(list(names))}."
        )
    found.sort(key=lambda t: (t.run_id, t.onset))
    for a, b in pairwise(found):
        if a.run_id == b.run_id and b.onset < a.onset + a.duration - 1e-6:
            raise InputError(
                f"decode_story: windows must follow each other, got {a.trial_id} and {b.trial_id}, "
                "which overlap. Plan segments that do not overlap."
            )
    return found


def _groups(trials: Sequence[Trial]) -> list[str] | None:
    """Story, else run, of each training window: left out whole to choose the penalty."""
    for name in ("story", "run_id"):
        groups = [getattr(t, name) for t in trials]
        if all(groups) and len(set(groups)) > 1:
            return groups
    return None


def _scores(
    segments: Sequence[StorySegment],
    store: VoxelStore,
    context: Context,
    *,
    count: int,
    seed: int,
) -> tuple[tuple[Score, ...], str]:
    """Score test windows with a transcript, or give the reason why there is no score."""
    scored = [s for s in segments if s.part in ("test", "new") and s.heard and not s.held]
    if not scored:
        return (), "no window of the test part has a transcript"
    one = store.by_id[scored[0].trial_id]
    step = max(1, round(one.duration / store.tr))
    guard = max(1, math.ceil(one.guard_trs / step))
    lengths = [sum(s.run == run for s in scored) for run in dict.fromkeys(s.run for s in scored)]
    if min(lengths) < 2 * guard:
        return (), f"a run has {min(lengths)} test windows, and shifts need {2 * guard} or more"
    # neighbours share signal: intervals and sign flips use stretches longer than the guard
    place: dict[str, int] = {}
    blocks = []
    for s in scored:
        i = place[s.run] = place.get(s.run, -1) + 1
        blocks.append(f"{s.run} {i // (2 * guard)}")
    found = story_scores(
        [s.text for s in scored],
        [s.heard for s in scored],
        shifted_partners(lengths, guard=guard, count=count, seed=seed),
        others={
            _NOISE: [s.from_noise for s in scored],
            ALONE: [s.without_brain for s in scored],
        },
        blocks=blocks,
        metrics=_METRICS,
        seed=seed,
    )
    found = [replace(s, p=None) if s.control == ALONE else s for s in found]
    if context == "transcript":
        found = [replace(score, mode="teacher-forced") for score in found]
        say("note: the context is the transcript: text and scores are teacher-forced")
    return with_adjusted(found), ""
