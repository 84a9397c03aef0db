"""Decoder of sentences for the controls: predict, retrieve, write, and score whole sentences."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from dataclasses import replace as replaced
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ..._progress import track
from ...data.features.window_components import WindowComponents
from ...errors import InputError
from ...lm.sentence_embeddings import SentenceEncoder
from ..sampling import Sampling
from .editing import shared_words
from .evidence import SentenceEvidence, fit_evidence
from .line_writer import LineWriter
from .options import SentenceWriting
from .readout import SentenceReadout, fit_sentence_readout
from .saving import place_of, save_parts
from .writing import write_sentence
from .written import Written

Array = npt.NDArray[np.float64]
_LINES_OF_EVERY_BRAIN = 8


@dataclass(frozen=True, eq=False)
class SentenceDecoder:
    """A decoder of sentences with a pretrained language model, fitted on training texts alone.

    Texts are scored by the language model after the same training texts for every brain, times the
    evidence of the brain (:class:`SentenceEvidence`). They are written after the training texts
    nearest to the predicted embedding, and the candidate nearest to it is kept.

    Parameters
    ----------
    readout : SentenceReadout
    writer : LineWriter
    evidence : SentenceEvidence
    prompt : tuple of int
        Tokens of the training texts before every scored text.
    writing : SentenceWriting
    kept : str or Path, optional
        Folder for written sentences: what was written before it was interrupted is taken from it.
    components : WindowComponents, optional
        Principal components that the features of a brain are. Default: the caller computes them.
    """

    readout: SentenceReadout
    writer: LineWriter
    evidence: SentenceEvidence
    prompt: tuple[int, ...]
    writing: SentenceWriting = field(default_factory=SentenceWriting)
    kept: str | Path | None = None
    components: WindowComponents | None = None

    def read(self, brains: npt.ArrayLike) -> Array:
        """Predict the embeddings (N, F) of brain features (N, B)."""
        return self.readout.predict(brains)

    def read_nothing(self) -> Array:
        """Return zeros (1, F): no training text is nearer than another."""
        return np.zeros((1, self.readout.vectors.shape[1]))

    def write(self, prefixes: Array) -> list[str]:
        """Write a sentence for each predicted embedding; equal predictions get equal sentences."""
        # what the language model wrote without a brain tells it from another one
        sample = self.evidence.written.round(5).tobytes()
        encoder = self.readout.encoder.name
        kept = Written(self.kept, (asdict(self.writing), self.readout.texts, encoder, sample))
        shared = None
        if self.writing.rounds and len(prefixes):
            shared = shared_words(self.writer, self.readout.encoder, self.readout.texts)
        texts = []
        for row in track(prefixes, "writing sentences"):
            text = kept.get(row)
            if text is None:
                # each sentence has its own random numbers, whatever is written beside it
                generator = torch.Generator().manual_seed(self.writing.seed)
                lines = write_sentence(
                    row, self.readout, self.writer, self.writing, generator, shared=shared
                )
                text = lines.texts[0] if lines.texts else ""
                kept.put(row, text)
            texts.append(text)
        return texts

    def score(self, prefixes: Array, texts: Sequence[str], pairs: npt.NDArray[np.int64]) -> Array:
        """Negative log likelihood a token (K,) of (brain, text) pairs (K, 2), nats.

        The same text has the same likelihood under the language model for every brain, so it is
        computed once.
        """
        rows = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        if not len(texts) or not all(text.split() for text in texts):
            raise InputError(
                "SentenceDecoder.score: texts must be one or more and hold words, got "
                f"{'an empty one' if len(texts) else 'none'}."
            )
        counts = len(prefixes), len(texts)
        if (rows < 0).any() or (rows >= counts).any():
            raise InputError(
                f"SentenceDecoder.score: pairs must be of {counts[0]} brains and {counts[1]} "
                f"texts, got numbers {rows.min(axis=0).tolist()} to {rows.max(axis=0).tolist()}."
            )
        base = self.writer.score(self.prompt, texts)
        ratio = self.evidence.log_ratio(prefixes, self.readout.embed(texts))
        found: Array = -(base.log_p[rows[:, 1]] + ratio[rows[:, 0], rows[:, 1]])
        return found / base.tokens[rows[:, 1]]

    def features(self, prefixes: Array) -> Array:
        """Return the predicted embeddings, (N, F)."""
        return prefixes

    @checked
    def save(
        self,
        folder: str | Path,
        *,
        llm: str | None = None,
        encoder: str | None = None,
        replace: bool = False,
    ) -> Path:
        """Write the decoder atomically, with the digests of its models in place of their weights.

        Parameters
        ----------
        folder : str or Path
        llm, encoder : str, optional
            Folder or name by which :func:`load_sentence_decoder` opens the language model and the
            encoder. Without one, it must be given when the decoder is opened.
        replace : bool
            Whether an existing folder may be replaced.

        Returns
        -------
        Path

        Raises
        ------
        OutputExistsError
            The folder exists and `replace` is false.
        CheckpointError
            A fitted value is not finite.
        """
        models = {
            "llm": {"name": place_of(llm), "digest": self.writer.digest()},
            "encoder": {"name": place_of(encoder), "digest": self.readout.encoder.digest()},
        }
        return save_parts(
            Path(folder),
            readout=self.readout,
            evidence=self.evidence,
            components=self.components,
            facts={**models, "prompt": list(self.prompt), "writing": asdict(self.writing)},
            replace=replace,
        )

    def untuned(self) -> AbstractContextManager[None] | None:
        """Return None: the language model is never tuned."""
        return None


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
    """
    if writing is not None and writing.rounds:
        # what editing needs is missed before the fit, not after it
        encoder.require_places()
        writer.require_places()
        shared_words(writer, encoder, texts)
    readout = fit_sentence_readout(brain, texts, groups=groups, encoder=encoder)
    spaced = np.linspace(0, len(texts) - 1, min(_LINES_OF_EVERY_BRAIN, len(texts))).round()
    prompt = writer.prompt([texts[int(i)] for i in spaced])
    generator = torch.Generator().manual_seed(seed)
    plain = Sampling(method="sample", max_new_tokens=48)
    written: list[str] = []
    for start in track(range(0, samples, 64), "writing without a brain"):
        count = min(64, samples - start)
        written += writer.write([prompt], count, sampling=plain, generator=generator).texts
    vectors = readout.embed([text or "." for text in written])
    evidence = fit_evidence(readout.out_of_fold, readout.vectors, vectors, groups=groups)
    evidence = replaced(evidence, texts=tuple(written))
    return SentenceDecoder(readout, writer, evidence, prompt, writing or SentenceWriting(), kept)
