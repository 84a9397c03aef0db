"""Fit the decoders that a trained run can be evaluated with, beside the one of its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import checked
from .._progress import say
from ..data import Trial, VoxelStore
from ..data.features.window_components import WindowComponents
from ..decoding import (
    LineWriter,
    MixtureBrains,
    SentenceDecoder,
    SentenceReadout,
    fit_mixture,
    fit_sentence_decoder,
    fit_sentence_readout,
)
from ..decoding.brain_decoder import BrainDecoder
from ..decoding.mixture_parts import BaseDecoder
from ..decoding.sentences import WRITING
from ..decoding.sentences.saving import fit_digest
from ..lm.loading import load_llm
from ..lm.sentence_embeddings import SentenceEncoder
from .decoder_choice import DecoderChoice

Windows = Callable[[VoxelStore, Sequence[str]], Any]
_MOST = 4096  # windows of a read-out: its regression is windows × windows
_MOST_VALIDATION = 256  # windows for the weights of a mixture: each writes and scores candidates


@dataclass(frozen=True, eq=False)
class OpenedDecoder:
    """A decoder that is fitted, and how it gets its brains.

    Parameters
    ----------
    decoder : BrainDecoder
    windows : callable
        Maps a view of the store and N trial ids to N brains in the format of the decoder.
    facts : dict
        Choice, weights and scope of the fit, for ``metrics.json``.
    """

    decoder: BrainDecoder
    windows: Windows
    facts: dict[str, Any] = field(default_factory=dict)


@checked
def open_sentence_decoder(
    store: VoxelStore,
    choice: DecoderChoice,
    components: WindowComponents,
    language: tuple[Any, Any],
    *,
    device: str = "cpu",
    seed: int = 0,
) -> OpenedDecoder:
    """Fit a decoder of whole sentences on the training part of a store.

    Parameters
    ----------
    store : VoxelStore
    choice : DecoderChoice
        ``"retrieve"`` or ``"edit"``.
    components : WindowComponents
        Features of a window, fitted on the training part.
    language : (model, tokenizer)
        Language model of the run, for a choice without one.
    device : str
    seed : int
        Of what is written.
    """
    # what they lack is missed before the features are computed
    writer = LineWriter(*(language if choice.llm is None else load_llm(choice.llm, device=device)))
    encoder = SentenceEncoder(choice.sentence_encoder)
    trials, which = _thinned(store, store.split.train, _MOST)
    decoder = fit_sentence_decoder(
        components.features(store, [t.trial_id for t in trials]),
        [t.text for t in trials],
        groups=[t.run_id for t in trials],
        writer=writer,
        encoder=encoder,
        writing=replace(choice.writing or WRITING[choice.name], seed=seed),
        samples=choice.samples,
        seed=seed,
        kept=choice.kept,
    )
    decoder = replace(decoder, components=components)
    facts = _facts(choice, decoder, trials, which)
    if choice.saved is not None:
        decoder.save(choice.saved, llm=choice.llm, encoder=choice.encoder, replace=True)
        # the results come later: they say which fit they are of
        facts["fit"] = fit_digest(Path(choice.saved))
    evidence = decoder.evidence
    say(
        f"{choice.name}: of two training texts left out, the prediction is nearer to the true one "
        f"in {decoder.readout.two_way:.1%}; {evidence.weight:g} nats for a cosine of one, "
        f"normalised over {evidence.effective:.1f} effective texts of {choice.samples}"
    )
    return OpenedDecoder(decoder, components.features, facts)


@checked
def open_mixture(
    store: VoxelStore,
    choice: DecoderChoice,
    features: Windows,
    base: BaseDecoder,
    windows: Windows,
    *,
    seed: int = 0,
) -> OpenedDecoder:
    """Fit a read-out on the training part and the weights of a mixture on the validation part.

    Parameters
    ----------
    store, choice, seed
        As in :func:`open_sentence_decoder`.
    features : callable
        Maps a view of the store and N trial ids to features (N, B), fitted on the training part.
    base : BaseDecoder
        Decoder of the run.
    windows : callable
        Maps a view of the store and N trial ids to N brains of `base`.
    """
    trials, which = _thinned(store, store.split.train, _MOST)
    readout = fit_sentence_readout(
        features(store, [t.trial_id for t in trials]),
        [t.text for t in trials],
        groups=[t.run_id for t in trials],
        encoder=SentenceEncoder(choice.sentence_encoder),
    )

    def both(view: VoxelStore, ids: Sequence[str]) -> MixtureBrains:
        return MixtureBrains(windows(view, ids), features(view, ids))

    held, part = _thinned(store, store.split.val, _MOST_VALIDATION)
    decoder = fit_mixture(
        base,
        readout,
        both(store, [t.trial_id for t in held]),
        [t.text for t in held],
        groups=[t.run_id for t in held],
        candidates=choice.candidates,
        seed=seed,
    )
    weights = decoder.weights
    say(
        f"mixture: weight {weights.base:g} of the run, {weights.evidence:g} nats for a cosine of "
        f"one; {weights.nll:.2f} nats a validation text, {weights.base_nll:.2f} by the run alone"
    )
    scope = f"{part} of validation, by which training may have chosen an epoch"
    facts = {
        "name": choice.name,
        "encoder": choice.encoder or "packaged MiniLM",
        "readout": _readout_facts(readout, trials, which),
        "weights": {"fitted_on": scope, **decoder.facts()},
    }
    return OpenedDecoder(decoder, both, facts)


def _thinned(store: VoxelStore, ids: Sequence[str], most: int) -> tuple[list[Trial], str]:
    """At most so many trials, evenly spaced, and words for them."""
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(most, len(ids))).round().astype(int))
    trials = [store.by_id[ids[i]] for i in chosen]
    runs = len({t.run_id for t in trials})
    named = f"{len(trials)} windows of {runs} runs"
    return trials, named if len(trials) == len(ids) else f"{named}, evenly spaced of {len(ids)}"


def _facts(
    choice: DecoderChoice, decoder: SentenceDecoder, trials: Sequence[Trial], which: str
) -> dict[str, Any]:
    evidence = decoder.evidence
    return {
        "name": choice.name,
        "llm": choice.llm or "that of the run",
        "encoder": choice.encoder or "packaged MiniLM",
        "readout": _readout_facts(decoder.readout, trials, which),
        "evidence": {
            "weight": evidence.weight,
            "gain": evidence.gain,
            "effective": evidence.effective,
            "samples": choice.samples,
        },
        "writing": asdict(decoder.writing),
    }


def _readout_facts(readout: SentenceReadout, trials: Sequence[Trial], which: str) -> dict[str, Any]:
    return {
        "fitted_on": which,
        "groups": len({t.run_id for t in trials}),
        "penalty": readout.ridge.penalty,
        "two_way": readout.two_way,
    }
