"""Decoder of sentences for the controls: predict, retrieve, write, and score whole sentences."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..._arguments import checked
from ..._progress import track
from ...data.features.window_components import WindowComponents
from .arguments import check_texts, pairs_of, rows_of
from .editing import shared_words
from .evidence import SentenceEvidence
from .line_writer import LineWriter
from .options import SentenceWriting
from .readout import SentenceReadout
from .saving import place_of, save_parts
from .writing import write_sentence
from .written import Written

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
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

    def __repr__(self) -> str:
        return (
            f"SentenceDecoder({len(self.readout.texts)} training texts, two-way "
            f"{self.readout.two_way:.3f}, {self.evidence.weight:g} nats for a cosine of one, "
            f"{self.writing.rounds} rounds of editing)"
        )

    def read(self, brains: npt.ArrayLike) -> Array:
        """Predict the embeddings (N, F) of brain features (N, B).

        Raises
        ------
        InputError
            See :meth:`SentenceReadout.predict`.
        """
        return self.readout.predict(brains)

    def read_nothing(self) -> Array:
        """Return zeros (1, F): no training text is nearer than another."""
        return np.zeros((1, self.readout.vectors.shape[1]))

    def write(self, prefixes: npt.ArrayLike) -> list[str]:
        """Write a sentence for each predicted embedding; equal predictions get equal sentences.

        Parameters
        ----------
        prefixes : array_like, (N, F)
            From :meth:`read` or :meth:`read_nothing`.

        Returns
        -------
        list of str, (N,)

        Raises
        ------
        InputError
            The predictions have another shape, or one is not finite.
        DiskError, CheckpointError
            The folder of kept sentences cannot be written, or holds a damaged one.
        """
        rows = self._rows(prefixes, "write")
        kept = Written(self.kept, () if self.kept is None else self._made_with())
        shared = None
        if self.writing.rounds and len(rows):
            shared = shared_words(self.writer, self.readout.encoder, self.readout.texts)
        texts = []
        for row in track(rows, "writing sentences"):
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

    def score(self, prefixes: npt.ArrayLike, texts: Sequence[str], pairs: npt.ArrayLike) -> Array:
        """Negative log likelihood a token (K,) of (brain, text) pairs, nats.

        The same text has the same likelihood under the language model for every brain, so it is
        computed once.

        Parameters
        ----------
        prefixes : array_like, (N, F)
            From :meth:`read` or :meth:`read_nothing`.
        texts : sequence of str, (M,)
        pairs : array_like, (K, 2) int
            Numbers of a brain and of a text.

        Returns
        -------
        ndarray, (K,) float64

        Raises
        ------
        InputError
            The predictions have another shape or are not finite, a text is empty or no Unicode
            text, or a pair is not of these brains and texts.
        """
        function = "SentenceDecoder.score"
        brains = self._rows(prefixes, "score")
        check_texts(texts, function=function)
        rows = pairs_of(pairs, (len(brains), len(texts)), function=function)
        said = list(texts)
        base = self.writer.score(self.prompt, said)
        ratio = self.evidence.log_ratio(brains, self.readout.embed(said))
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

    def _rows(self, prefixes: npt.ArrayLike, method: str) -> Array:
        width = self.readout.vectors.shape[1]
        return rows_of(prefixes, width, function=f"SentenceDecoder.{method}", name="prefixes")

    def _made_with(self) -> tuple[object, ...]:
        """What a written sentence depends on, besides the prediction."""
        table = self.writer.llm.get_input_embeddings().weight
        machine = str(table.dtype), table.device.type
        return asdict(self.writing), self.readout.texts, machine, self._digests

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        """Digests of the language model, the encoder, and the vectors that texts are near to."""
        fitted = hashlib.sha256()
        for array in (self.readout.vectors, self.readout.centre, self.readout.ridge.y_mean):
            fitted.update(array.tobytes())
        return self.writer.digest(), self.readout.encoder.digest(), fitted.hexdigest()
