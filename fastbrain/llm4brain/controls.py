"""Run LLM4Brain on all controls, and on views of its store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt

from .._arguments import checked
from ..data import VoxelStore, WindowLoader
from ..decoding import Sampling
from ..errors import InputError
from ..evaluation.analyses.partners import partners_across_runs
from ..evaluation.controls.conditions import TRUE, Conditions, pairwise_score
from ..evaluation.controls.noise import Noise, noise_store
from ..evaluation.controls.run_controls import run_controls
from ..evaluation.decoder_choice import DecoderChoice
from ..evaluation.run_decoders import OpenedDecoder
from ..evaluation.scores import Score
from ..stats.derangements import needed_pairs
from .control_decoder import LLM4BrainDecoder
from .model import LLM4Brain
from .questions import questions_of
from .run_decoder import open_decoder


@checked
def control_model(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: Sequence[str],
    *,
    apart: Sequence[str] = ("run_id",),
    sampling: Sampling | None = None,
    count: int = 100,
    seed: int = 0,
    batch_size: int = 32,
    partners: npt.NDArray[np.int64] | None = None,
    engine: bool = False,
    decoder: OpenedDecoder | None = None,
) -> Conditions:
    """Run LLM4Brain on the true brain data and on every control.

    Every trial is asked its own question (:attr:`fastbrain.data.Trial.instruction`, else the
    prompt of the run), also by the controls: they change the brain alone. Partners of a derangement
    share the question where the questions are asked often enough.

    Parameters
    ----------
    model : LLM4Brain
    store : VoxelStore
    trial_ids : sequence of str
        Trials of the test part.
    apart : sequence of str
        Attributes of :class:`fastbrain.data.Trial` that partners must not share; the first is the
        unit of confidence intervals. Add ``"stimulus"`` if stimuli repeat across runs.
    sampling : Sampling, optional
    count : int
        Number of derangements.
    seed : int
        Seed of derangements, noise and intervals.
    batch_size : int
    partners : ndarray, (R, N) int64, optional
        Derangements to use in place of `count` new ones.
    engine : bool
        Whether the decode engine writes; see :func:`fastbrain.decoding.texts.choose_engine`.
    decoder : OpenedDecoder, optional
        Decoder to run in place of the model as it was trained, for the same store and trials;
        `sampling`, `batch_size` and `engine` are then its own.

    Returns
    -------
    Conditions

    Raises
    ------
    InputError
        A trial is not in the test part, or no derangement exists.
    """
    check_test_part("control_model", store, trial_ids)
    trials = [store.by_id[t] for t in trial_ids]
    asked = questions_of(model, trials)

    opened = decoder or open_decoder(
        model, store, trial_ids, DecoderChoice(), sampling=sampling, engine=engine,
        batch_size=batch_size,
    )  # fmt: skip
    windows = opened.windows
    brains = {TRUE: windows(store, trial_ids)}
    for kind in get_args(Noise):
        # without a subject table the zero brain gives the same result for every trial
        same = kind == "zero brain" and model.subjects is None and len(set(asked)) == 1
        ids = trial_ids[:1] if same else trial_ids
        brains[kind] = windows(noise_store(store, kind, seed=seed), ids)
    if partners is None:
        partners = partners_across_runs(trials, apart, same=asked, count=count, seed=seed)
    train = [store.by_id[t] for t in store.split.train]
    return run_controls(
        opened.decoder,
        brains,
        [t.text for t in trials],
        partners,
        blocks=[getattr(t, apart[0]) for t in trials],
        prompts=asked if len(set(asked)) > 1 else (),
        train_texts=[t.text for t in train],
        train_prompts=questions_of(model, train) if len(set(asked)) > 1 else (),
        train_brains=windows(store, store.split.train),
    )


@checked
def pairwise_scorer(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: Sequence[str],
    *,
    apart: Sequence[str] = ("run_id",),
    count: int = 100,
    seed: int = 0,
    batch_size: int = 32,
) -> Callable[[VoxelStore], Score]:
    """Build a function that scores a view of the store, for regions and delays.

    Parameters
    ----------
    model, store, trial_ids, apart, count, seed, batch_size
        As in :func:`control_model`.

    Returns
    -------
    callable
        Maps a view of the store, or the store itself, to its pairwise accuracy against deranged
        brains. Trials and derangements are the same in every call.
    """
    check_test_part("pairwise_scorer", store, trial_ids)
    trials = [store.by_id[t] for t in trial_ids]
    truth, asked = [t.text for t in trials], questions_of(model, trials)
    blocks = [getattr(t, apart[0]) for t in trials]
    partners = partners_across_runs(trials, apart, same=asked, count=count, seed=seed)
    pairs = needed_pairs(partners, list(zip(asked, truth, strict=True)))
    decoder = LLM4BrainDecoder(model, prompts=asked)

    def score(view: VoxelStore) -> Score:
        loader = WindowLoader(view, trial_ids, batch_size=batch_size, shuffle=False)
        nll = decoder.score(decoder.read(loader), truth, pairs.index)
        return pairwise_score(*pairs.gather(nll), blocks=blocks, seed=seed, partners=partners)

    return score


def check_test_part(name: str, store: VoxelStore, trial_ids: Sequence[str]) -> None:
    """Raise unless all trials are of the test part and there is one."""
    seen = set(store.split.train) | set(store.split.val)
    leaked = [t for t in trial_ids if t in seen]
    unknown = [t for t in trial_ids if t not in store.by_id]
    if leaked or unknown or not trial_ids:
        raise InputError(
            f"{name}: trial_ids must be of the test part, got {len(trial_ids)} of which "
            f"{len(leaked)} of train or val {leaked[:1]} and {len(unknown)} unknown {unknown[:1]}."
        )
