"""Open the decoder that a run of BrainLLM is evaluated with."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import VoxelStore
from ..data.features.window_components import WindowComponents
from ..errors import CheckpointError
from ..evaluation.decoder_choice import DecoderChoice, check_choice
from ..evaluation.run_decoders import OpenedDecoder, open_mixture, open_sentence_decoder
from .controls import BrainLLMDecoder
from .saving import SavedBrainLLM


def check_decoder(
    saved: SavedBrainLLM,
    store: VoxelStore,
    trial_ids: Sequence[str],
    choice: DecoderChoice,
    *,
    function: str,
) -> None:
    """Raise if a model cannot be evaluated with a decoder; see :func:`check_choice`."""
    model = saved.model
    check_choice(
        choice,
        store,
        questions=saved.card.texts_before([store.by_id[t] for t in trial_ids]),
        tuned=model.tuned is not None or model.adapter_folder is not None,
        llm=model.llm,
        tokenizer=model.text_tokenizer,
        function=function,
    )


def open_decoder(
    saved: SavedBrainLLM,
    store: VoxelStore,
    own: BrainLLMDecoder,
    choice: DecoderChoice,
    *,
    seed: int = 0,
) -> OpenedDecoder:
    """Fit a decoder on the training part of a store, or take the model as it was trained.

    The read-out is fitted on the components of the run.

    Parameters
    ----------
    saved : SavedBrainLLM
    store : VoxelStore
    own : BrainLLMDecoder
        Decoder of the run.
    choice : DecoderChoice
    seed : int
    """
    if choice.name == "soft-prompt":
        return OpenedDecoder(own, saved.windows, {"name": choice.name})
    if saved.pca is None:
        raise CheckpointError("open_decoder: the model must be saved with its components.")
    components = WindowComponents(saved.pca, saved.region, saved.card.whiten)
    if choice.own:
        language = (saved.model.llm, saved.model.text_tokenizer)
        device = str(saved.model.device)
        return open_sentence_decoder(store, choice, components, language, device=device, seed=seed)
    return open_mixture(store, choice, components.features, own, saved.windows, seed=seed)
