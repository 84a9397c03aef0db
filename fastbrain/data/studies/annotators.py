"""Annotators without a model: sentences from class names, and human captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, ConfigError
from ..readers.tables import given, read_tsv
from .annotation import AnnotatorCard, Request, draw


class ClassNames:
    """Inserts the class name into a template that is drawn for each record.

    Parameters
    ----------
    templates : sequence of str
        Each contains ``{}`` once.
    """

    def __init__(self, templates: Sequence[str]) -> None:
        if not templates or any(t.count("{}") != 1 for t in templates):
            raise ConfigError(
                f"ClassNames: templates must each have {{}} once, got {list(templates)}."
            )
        self.templates = tuple(templates)

    @property
    def card(self) -> AnnotatorCard:
        """Identity of the annotator."""
        return AnnotatorCard("class names", _digest(self.templates))

    def annotate(self, requests: Sequence[Request]) -> list[str]:
        """Return one sentence per request."""
        return [self._sentence(request) for request in requests]

    def _sentence(self, request: Request) -> str:
        if not request.name:
            raise CohortError(
                f"ClassNames: {request.record_id} must have a class name, got none. "
                "Use an annotator that knows its stimulus."
            )
        i = draw(request.seed, request.record_id, "template", len(self.templates))
        return self.templates[i].replace("{}", request.name)


class Captions:
    """Draws one of the captions of the stimulus for each record.

    Parameters
    ----------
    captions : mapping of str to sequence of str, optional
        Captions by stimulus; default: the captions of the request.
    otherwise : ClassNames, optional
        Annotator for stimuli without a caption.
    """

    def __init__(
        self,
        captions: Mapping[str, Sequence[str]] | None = None,
        *,
        otherwise: ClassNames | None = None,
    ) -> None:
        self.captions = None if captions is None else {k: tuple(v) for k, v in captions.items()}
        self.otherwise = otherwise

    @property
    def card(self) -> AnnotatorCard:
        """Identity of the annotator."""
        fallback = self.otherwise.card if self.otherwise else None
        name = "captions" + (f", else {fallback.name}" if fallback else "")
        return AnnotatorCard(name, _digest(self.captions, fallback and fallback.digest))

    def annotate(self, requests: Sequence[Request]) -> list[str]:
        """Return one caption per request."""
        return [self._caption(request) for request in requests]

    def _caption(self, request: Request) -> str:
        texts = request.captions
        if self.captions is not None:
            texts = self.captions.get(request.stimulus, ())
        if texts:
            return texts[draw(request.seed, request.record_id, "caption", len(texts))]
        if self.otherwise is not None:
            return self.otherwise.annotate([request])[0]
        raise CohortError(
            f"Captions: {request.stimulus or request.record_id} must have a caption, got none. "
            "Complete the table, or pass otherwise=."
        )


@checked
def captions_from_tsv(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read captions by stimulus from a table with the columns ``stimulus`` and ``caption``.

    Parameters
    ----------
    path : str or Path
        A stimulus may have several rows.

    Raises
    ------
    CohortError
        A column is missing or a cell is empty.
    """
    columns, rows = read_tsv(Path(path))
    if not {"stimulus", "caption"} <= set(columns):
        raise CohortError(
            f"captions: {path} must have the columns stimulus and caption, got {columns}."
        )
    captions: dict[str, list[str]] = {}
    for row in rows:
        stimulus, caption = given(row, "stimulus", label=True), given(row, "caption", spoken=True)
        if not stimulus or not caption:
            raise CohortError(
                f"captions: {row.where} must name a stimulus and a caption, got '{stimulus}' and "
                f"'{caption}'. Complete the row, or remove it."
            )
        captions.setdefault(stimulus, []).append(caption)
    return {stimulus: tuple(texts) for stimulus, texts in captions.items()}


def _digest(*values: object) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
