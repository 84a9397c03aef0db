"""Open the decoder that a run of LLM4Brain is evaluated with."""

from __future__ import annotations

from collections.abc import Sequence

from ..data import VoxelStore, WindowLoader
from ..data.features.window_components import fit_window_components
from ..decoding import Sampling
from ..evaluation.decoder_choice import DecoderChoice, check_choice
from ..evaluation.run_decoders import OpenedDecoder, open_mixture, open_sentence_decoder
from .control_decoder import LLM4BrainDecoder
from .model import LLM4Brain
from .questions import questions_of


def check_decoder(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: Sequence[str],
    choice: DecoderChoice,
    *,
    function: str,
) -> None:
    """Raise if a model cannot be evaluated with a decoder; see :func:`check_choice`."""
    check_choice(
        choice,
        store,
        questions=questions_of(model, [store.by_id[t] for t in trial_ids if t in store.by_id]),
        tuned=model.tuned is not None
        or model.adapter_folder is not None
        or LLM4BrainDecoder(model, prompt="?").untuned() is not None,
        llm=model.llm,
        tokenizer=model.text_tokenizer,
        function=function,
    )


def open_decoder(
    model: LLM4Brain,
    store: VoxelStore,
    trial_ids: Sequence[str],
    choice: DecoderChoice,
    *,
    sampling: Sampling | None = None,
    engine: bool = False,
    seed: int = 0,
    batch_size: int = 32,
) -> OpenedDecoder:
    """Fit a decoder on the training part of a store, or take the model as it was trained.

    Parameters
    ----------
    model : LLM4Brain
    store : VoxelStore
    trial_ids : sequence of str
        Trials of the test part, for their questions.
    choice : DecoderChoice
    sampling, engine
        Of the model; see :class:`LLM4BrainDecoder`.
    seed : int
    batch_size : int
    """

    def windows(view: VoxelStore, ids: Sequence[str]) -> WindowLoader:
        return WindowLoader(view, ids, batch_size=batch_size, shuffle=False)

    if choice.own:
        components = fit_window_components(store, store.split.train, components=choice.components)
        language = (model.llm, model.text_tokenizer)
        opened = open_sentence_decoder(
            store, choice, components, language, device=str(model.device), seed=seed
        )
        opened.facts["components"] = len(components.pca.components)
        return opened
    asked = questions_of(model, [store.by_id[t] for t in trial_ids])
    own = LLM4BrainDecoder(model, prompts=asked, sampling=sampling, engine=engine)
    if choice.name == "soft-prompt":
        return OpenedDecoder(own, windows, {"name": choice.name})
    components = fit_window_components(store, store.split.train, components=choice.components)
    opened = open_mixture(store, choice, components.features, own, windows, seed=seed)
    opened.facts["components"] = len(components.pca.components)
    return opened
