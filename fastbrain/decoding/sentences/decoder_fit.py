"""Fit of a sentence decoder: read-out, evidence, and the texts that normalise it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ..._progress import track
from ...lm.sentence_embeddings import SentenceEncoder
from ..sampling import Sampling
from .decoder import SentenceDecoder
from .editing import shared_words
from .evidence import fit_evidence
from .line_writer import LineWriter
from .options import SentenceWriting
from .readout import fit_sentence_readout
from .written import Written, check_kept

_LINES_OF_EVERY_BRAIN = 8


@checked(least={"samples": 32})
def fit_sentence_decoder(
    brain: npt.ArrayLike,
    texts: Sequence[str],
    *,
    groups: Sequence[object],
    writer: LineWriter,
    encoder: SentenceEncoder,
    writing: SentenceWriting | None = None,
    samples: int = 512,
    seed: int = 0,
    kept: str | Path | None = None,
) -> SentenceDecoder:
    """Fit read-out and evidence on training texts; the language model stays as it is.

    Parameters
    ----------
    brain : array_like, (M, B)
        Features of the training part only.
    texts : sequence of str, (M,)
    groups : sequence, (M,)
        Passage, story or run of each text; whole groups are left out in turn.
    writer : LineWriter
        Of a pretrained causal language model.
    encoder : SentenceEncoder
    writing : SentenceWriting, optional
    samples : int
        Texts that the language model writes without a brain, to normalise the evidence.
    seed : int
        Of these texts.
    kept : str or Path, optional
        Folder for written sentences, to go on after an interruption.

    Returns
    -------
    SentenceDecoder

    Raises
    ------
    InputError
        As :func:`fit_sentence_readout`; or the writing needs what a tokenizer lacks.
    DiskError
        `kept` is not a folder that can be written.
    """
    check_kept(kept, function="fit_sentence_decoder")
    if writing is not None and writing.rounds:
        # what editing needs is missed before the fit, not after it
        encoder.require_places()
        writer.require_places()
        shared_words(writer, encoder, texts)
    readout = fit_sentence_readout(brain, texts, groups=groups, encoder=encoder)
    spaced = np.linspace(0, len(texts) - 1, min(_LINES_OF_EVERY_BRAIN, len(texts))).round()
    prompt = writer.prompt([texts[int(i)] for i in spaced])
    written = _without_a_brain(writer, prompt, samples, seed, kept)
    vectors = readout.embed([text or "." for text in written])
    evidence = fit_evidence(readout.out_of_fold, readout.vectors, vectors, groups=readout.groups)
    evidence = replace(evidence, texts=tuple(written))
    return SentenceDecoder(readout, writer, evidence, prompt, writing or SentenceWriting(), kept)


def _without_a_brain(
    writer: LineWriter, prompt: tuple[int, ...], samples: int, seed: int, kept: str | Path | None
) -> list[str]:
    """Texts that the language model writes after a prompt, kept as those of brains are."""
    table = writer.llm.get_input_embeddings().weight
    machine = str(table.dtype), table.device.type
    store = Written(kept, () if kept is None else (prompt, samples, seed, machine, writer.digest()))
    key = np.zeros(0)  # there is no prediction
    if (known := store.get(key)) is not None:
        return known.split("\n")
    generator = torch.Generator().manual_seed(seed)
    plain = Sampling(method="sample", max_new_tokens=48)
    written: list[str] = []
    for start in track(range(0, samples, 64), "writing without a brain"):
        count = min(64, samples - start)
        written += writer.write([prompt], count, sampling=plain, generator=generator).texts
    # a line has no line break
    store.put(key, "\n".join(written))
    return written
