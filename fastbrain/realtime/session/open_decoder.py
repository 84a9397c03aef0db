"""Open the model of a run for single windows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ..._progress import say
from ..._run_kind import run_kind
from ...brainllm.evaluate import brainllm_decoder, refuse_unknown_subject
from ...brainllm.saving import SavedBrainLLM, load_brainllm
from ...data import VoxelStore
from ...data.store.geometry import NO_SURFACES, need_volumes
from ...decoding import DecodeEngine, Sampling
from ...errors import InputError
from ...inference.open_decoder import preparation_for
from ...llm4brain.control_decoder import LLM4BrainDecoder
from ...llm4brain.open_run import open_model
from ...lm.tokenization import MOST_ANSWER_TOKENS
from .run_decoder import RunWindowDecoder
from .run_engine import RunEngine
from .text_scorer import DecoderScorer, EngineScorer, TextScorer
from .text_writer import EngineWriter, ModelWriter, TextWriter
from .window_decoder import Window


def kind_of_decoder(run: str | Path) -> str:
    """Return the kind of a run that decodes windows.

    Raises
    ------
    InputError
        The run is one of vq-lm.
    """
    kind = run_kind(run, function="live")
    if kind == "vq-lm":
        raise InputError(
            f"live: {run} must be a run that decodes windows to text, got one of vq-lm, which "
            "reads a whole recording. Use a run of LLM4Brain or BrainLLM."
        )
    return kind


@checked
def open_window_decoder(
    run: str | Path,
    *,
    like: VoxelStore | None = None,
    sampling: Sampling | None = None,
    prompt: str = "",
    phrases: Sequence[str] = (),
    subject: str = "",
    unknown_subject: str | None = None,
    control: bool = True,
    device: str = "cpu",
) -> RunWindowDecoder:
    """Open the model of a run of LLM4Brain or BrainLLM for single windows.

    Parameters
    ----------
    run : str or Path
    like : VoxelStore, optional
        Preparation of the run; default: its own.
    sampling : Sampling, optional
    prompt : str
        LLM4Brain: question of all windows, by default that of the run. BrainLLM: text to continue.
    phrases : sequence of str
        Candidates that are ranked after each text.
    subject : str
        Entry of the model's table of subjects; other models do not read it.
    unknown_subject : {"refuse", "mean"}, optional
        See :func:`fastbrain.open_run`.
    control : bool
        Whether to compute confidence and no-brain margin.
    device : str

    Raises
    ------
    InputError
        The run is one of vq-lm, or a phrase is empty.
    CheckpointError
        Training is not finished, or a file of the run is missing or damaged.
    """
    if not all(phrase.strip() for phrase in phrases):
        raise InputError(
            "open_window_decoder: phrases must hold words, got an empty one. Take it out."
        )
    kind = kind_of_decoder(run)
    like = preparation_for(run) if like is None else like
    need_volumes(like, function="open_window_decoder", remedy=NO_SURFACES)
    shape = (like.window_spec.window_trs, like.grid.n_tokens, like.grid.patch_voxels)
    build = partial(RunWindowDecoder, shape=shape, phrases=phrases, control=control)
    if kind == "llm4brain":
        model = open_model(run, like=like, device=device, unknown_subject=unknown_subject)
        decoder = LLM4BrainDecoder(model, prompt=prompt or None, sampling=sampling)

        def batch(window: Window) -> list[Any]:
            voxels = torch.from_numpy(np.array(window))[None]  # a window may be read-only
            return [SimpleNamespace(voxels=voxels, subjects=(subject,))]

        llm, tokenizer = model.llm, model.text_tokenizer
        parts = _parts(decoder, decoder, llm, tokenizer, sampling, MOST_ANSWER_TOKENS)
        return build(decoder, batch, *parts)
    refuse_unknown_subject("live", unknown_subject)
    saved = load_brainllm(Path(run) / "model", device=device)
    before = (prompt,) if prompt else ()
    reader = brainllm_decoder(saved, before, sampling)
    scorer = brainllm_decoder(saved, before * (1 + len(phrases)), sampling)
    llm, tokenizer = saved.model.llm, saved.model.text_tokenizer
    parts = _parts(reader, scorer, llm, tokenizer, sampling, reader.max_text_tokens)
    return build(reader, _Features(saved, like), *parts)


def _parts(
    reader: Any, scorer: Any, llm: Any, tokenizer: Any, sampling: Sampling | None, longest: int
) -> tuple[TextWriter, TextScorer]:
    """Writer and scorer of texts: by the engine where it runs the language model, else a note.

    `scorer` is `reader` for as many texts as there are; only without an engine it differs.
    """
    reason = DecodeEngine.can_run(llm)
    if reason is None:
        most = max(longest, (sampling or Sampling()).max_new_tokens)
        engine = RunEngine(reader, llm, tokenizer, most_tokens=most)
        return EngineWriter(engine, sampling), EngineScorer(engine)
    say(f"note: texts are written and scored without the decode engine, which is slower: {reason}")
    return ModelWriter(reader, llm, tokenizer), DecoderScorer(scorer)


class _Features:
    """Components of the volumes of a window, (1, F, k); also the rows that a PCA reads."""

    def __init__(self, saved: SavedBrainLLM, like: VoxelStore) -> None:
        if saved.pca is None:
            raise InputError("live: the model must be saved with its components, got none.")
        self.pca, self.whiten = saved.pca, saved.card.whiten
        self.scale = float(like.scale)
        inside = like.grid.patch_mask
        if saved.region is not None:
            inside = inside & like.grid.pack(saved.region)
        self.voxels = np.flatnonzero(inside)
        self._rows = np.empty((0, len(self.voxels)))

    @property
    def shape(self) -> tuple[int, int]:
        return self._rows.shape[0], self._rows.shape[1]

    def columns(self, start: int, stop: int) -> npt.NDArray[Any]:
        return self._rows[:, start:stop]

    def __call__(self, window: Window) -> npt.NDArray[np.float32]:
        self._rows = window.reshape(len(window), -1)[:, self.voxels]
        return self.pca.transform(self, whiten=self.whiten)[None]
