"""Open the decoder of a run, whichever system it is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from .._arguments import checked
from .._run_kind import run_kind
from .._runfiles import model_folder, read_manifest
from ..brainllm.evaluate import brainllm_decoder, refuse_unknown_subject
from ..brainllm.saving import load_brainllm
from ..data import VoxelStore, WindowLoader
from ..data.readers.events import Trial
from ..data.store.preparation import PREPARATION, open_preparation
from ..decoding import Sampling
from ..decoding.brain_decoder import BrainDecoder
from ..decoding.texts import choose_engine
from ..evaluation.run_store import open_store
from ..llm4brain.control_decoder import LLM4BrainDecoder
from ..llm4brain.open_run import open_model
from ..llm4brain.questions import questions_of

_BATCH = 32


@dataclass(frozen=True, eq=False)
class RunDecoder:
    """Decoder of a run, and the preparation of the windows that it reads.

    Parameters
    ----------
    run : Path
    manifest : dict
    like : VoxelStore
        Preparation of the training windows: grid, filter, statistics and limits.
    bind : callable
        Maps a store and trial ids to the decoder and the brains of these trials in its format.
    before : callable
        Maps trials to the text that each one's decoded text answers or continues.
    facts : dict
        Further settings of the run, as JSON values.
    """

    run: Path
    manifest: dict[str, Any]
    like: VoxelStore
    bind: Callable[[VoxelStore, Sequence[str]], tuple[BrainDecoder, Any]]
    before: Callable[[Sequence[Trial]], Sequence[str]]
    facts: dict[str, Any] = field(default_factory=dict)


def preparation_for(run: str | Path, store: str | Path | None = None) -> VoxelStore:
    """Open the preparation of a run, or for a run without one the store of its training.

    Raises
    ------
    CheckpointError
        Training is not finished, or the run has no preparation and its store is not found.
    """
    manifest = read_manifest(run, function="decode")
    if (Path(run) / PREPARATION).is_dir():
        return open_preparation(run)
    return open_store(run, manifest, store, function="decode")


@checked
def open_decoder(
    run: str | Path,
    *,
    like: VoxelStore | None = None,
    sampling: Sampling | None = None,
    unknown_subject: str | None = None,
    device: str = "cpu",
    engine: bool = False,
    llm: str | None = None,
) -> RunDecoder:
    """Open the model of a run of LLM4Brain or BrainLLM; its store is not needed.

    Parameters
    ----------
    run : str or Path
        Run folder from ``fastbrain train`` or ``fastbrain adapt``.
    like : VoxelStore, optional
        From :func:`preparation_for`; default: that of the run.
    sampling : Sampling, optional
    unknown_subject : {"refuse", "mean"}, optional
        See :func:`fastbrain.open_run`.
    device : str
    engine : bool
        See :func:`fastbrain.evaluate_run`.
    llm : str, optional
        Name or folder of the language model of training, where it is not at its recorded place.

    Raises
    ------
    CheckpointError
        Training is not finished, or a file of the run is missing or damaged.
    InputError
        `unknown_subject` is given for a model without a table of subjects.
    """
    manifest = read_manifest(run, function="decode")
    like = preparation_for(run) if like is None else like
    if run_kind(run, function="decode") == "llm4brain":
        model = open_model(run, like=like, device=device, unknown_subject=unknown_subject, llm=llm)
        asked = partial(questions_of, model)
        engine, written = choose_engine(model.llm, sampling, engine)

        def bind(given: VoxelStore, ids: Sequence[str]) -> tuple[BrainDecoder, Any]:
            questions = asked([given.by_id[t] for t in ids])
            decoder = LLM4BrainDecoder(model, prompts=questions, sampling=sampling, engine=engine)
            return decoder, WindowLoader(given, ids, batch_size=_BATCH, shuffle=False)

        return RunDecoder(Path(run), manifest, like, bind, asked, dict(written))
    refuse_unknown_subject("decode", unknown_subject)
    saved = load_brainllm(model_folder(run), device=device, llm=llm)
    engine, written = choose_engine(saved.model.llm, sampling, engine)

    def bind_texts(given: VoxelStore, ids: Sequence[str]) -> tuple[BrainDecoder, Any]:
        prompts = saved.card.texts_before([given.by_id[t] for t in ids])
        decoder = brainllm_decoder(saved, prompts, sampling, engine=engine)
        return decoder, saved.windows(given, ids)

    prompt = {"before": saved.card.before, "length": saved.card.prompt_length}
    facts = {"prompt": prompt, **written}
    return RunDecoder(Path(run), manifest, like, bind_texts, saved.card.texts_before, facts)
