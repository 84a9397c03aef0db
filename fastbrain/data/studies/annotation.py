"""Surrogate texts: target texts for stimuli without a transcript.

LLM4Brain (arXiv 2409.17987, section 3.2) gives each fMRI record a random instruction and uses the
answer of a video model as its target. Here an :class:`Annotator` answers; every answer is stored
with its annotator, instruction and seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from ..._arguments import checked
from ..._io import read_json, write_atomic, write_json
from ..._progress import track
from ...errors import CohortError, ConfigError
from ..readers.tables import read_lines

_MANIFEST = "annotator.json"
_BATCH = 64


@dataclass(frozen=True)
class Request:
    """Request to an annotator for the text of one record.

    Parameters
    ----------
    record_id : str
    instruction : str
        Instruction or question to answer.
    seed : int
        Seed of any random choice of the annotator for this record.
    stimulus, category, name : str
        As in :class:`fastbrain.data.studies.catalog.Label`.
    captions : tuple of str
        Human captions of the stimulus.
    clip : str
        Path of the stimulus file, "" if there is none.
    """

    record_id: str
    instruction: str
    seed: int
    stimulus: str = ""
    category: str = ""
    name: str = ""
    captions: tuple[str, ...] = ()
    clip: str = ""

    def digest(self) -> str:
        """Return a short hash of all fields."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class AnnotatorCard:
    """Identity of an annotator: annotators with equal cards give equal answers.

    Parameters
    ----------
    name : str
        Kind of annotator, and its model if it has one.
    digest : str
        Digest of everything that affects its answers besides the request: weights, templates,
        settings.
    version : int
        Increased when a code change alters the answers.
    """

    name: str
    digest: str
    version: int = 1


class Annotator(Protocol):
    """Answers requests; the same request gets the same answer."""

    @property
    def card(self) -> AnnotatorCard:
        """Identity of the annotator."""

    def annotate(self, requests: Sequence[Request]) -> list[str]:
        """Return one answer per request, in their order."""


@dataclass(frozen=True)
class Surrogate:
    """An answer and its origin.

    Parameters
    ----------
    record_id, text, instruction : str
    seed : int
    request : str
        Digest of the request.
    model, digest : str
    version : int
        With `model` and `digest`: the card of the annotator.
    """

    record_id: str
    text: str
    instruction: str
    seed: int
    request: str
    model: str
    digest: str
    version: int


def draw(seed: int, record_id: str, what: str, n: int) -> int:
    """Draw a number in 0..n-1 that depends only on the arguments, not on earlier draws."""
    text = f"{seed}\0{what}\0{record_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") % n


@checked
def annotate(
    requests: Sequence[Request],
    annotator: Annotator,
    *,
    cache: str | Path | None = None,
    batch_size: int = _BATCH,
) -> dict[str, Surrogate]:
    """Answer every request; answers that are in the cache are reused.

    Parameters
    ----------
    requests : sequence of Request
    annotator : Annotator
    cache : str or Path, optional
        Folder for the answers of this annotator. Each batch is written atomically.
    batch_size : int

    Returns
    -------
    dict of str to Surrogate
        Answers by record id, in the order of the requests.

    Raises
    ------
    CohortError
        The cache is damaged or belongs to another annotator, or an answer is empty.
    ConfigError
        A record occurs in two requests, or `batch_size` is below 1.
    """
    if batch_size < 1 or len({r.record_id for r in requests}) != len(requests):
        raise ConfigError(
            "annotate: batch_size must be 1 or more and each record be asked about once, got "
            f"{batch_size} and {len(requests)} requests."
        )
    folder = None if cache is None else Path(cache)
    known = {} if folder is None else _claim(folder, annotator.card)
    todo = [r for r in requests if (r.record_id, r.digest()) not in known]
    batches = [todo[i : i + batch_size] for i in range(0, len(todo), batch_size)]
    for batch in track(batches, "annotating") if len(batches) > 1 else batches:
        answers = _answers(batch, annotator)
        if folder is not None:
            write_surrogates(_next_part(folder), answers)
        known |= {(s.record_id, s.request): s for s in answers}
    return {r.record_id: known[r.record_id, r.digest()] for r in requests}


def _next_part(folder: Path) -> Path:
    """Return a free name for the next file of a cache; earlier files may have been removed."""
    numbers = count(len(list(folder.glob("part-*.jsonl"))))
    paths = (folder / f"part-{number:06d}.jsonl" for number in numbers)
    return next(path for path in paths if not path.exists())


def write_surrogates(path: Path, surrogates: Iterable[Surrogate]) -> None:
    """Write one JSON object per line, atomically."""
    lines = [json.dumps(asdict(s), ensure_ascii=False) for s in surrogates]
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_surrogates(path: Path) -> list[Surrogate]:
    """Inverse of :func:`write_surrogates`.

    Raises
    ------
    CohortError
        The file is missing or damaged; the message names file and line.
    """
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        try:
            found.append(_surrogate(json.loads(line)))
        except (TypeError, ValueError, RecursionError) as error:
            raise CohortError(
                f"surrogates: {path} line {number} must be a surrogate, got '{line:.60}'. Remove "
                "the file: its records are asked about again."
            ) from error
    return found


def _surrogate(value: dict[str, Any]) -> Surrogate:
    surrogate = Surrogate(**value)
    for name, given in asdict(surrogate).items():
        if type(given) is not (int if name in ("seed", "version") else str):
            raise TypeError(name)
    return surrogate


def _claim(folder: Path, card: AnnotatorCard) -> dict[tuple[str, str], Surrogate]:
    """Read the answers in a cache, after checking that it belongs to this annotator."""
    path = folder / _MANIFEST
    if not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise CohortError(
                f"annotate: {folder} must be new or a cache, got other files. Name another folder."
            )
        write_json(path, asdict(card))
        return {}
    if (before := read_json(path)) != asdict(card):
        raise CohortError(
            f"annotate: {folder} must hold answers of {card.name} ({card.digest}, version "
            f"{card.version}), got those of {_described(before)}. Name another folder."
        )
    stored = [s for part in sorted(folder.glob("part-*.jsonl")) for s in read_surrogates(part)]
    return {(s.record_id, s.request): s for s in stored}


def _described(card: Any) -> str:
    if not isinstance(card, Mapping):
        return "an unknown model"
    return f"{card.get('name')} ({card.get('digest')}, version {card.get('version')})"


def _answers(batch: Sequence[Request], annotator: Annotator) -> list[Surrogate]:
    card = annotator.card
    given = annotator.annotate(batch)
    if len(given) != len(batch) or not all(isinstance(text, str) for text in given):
        raise CohortError(
            f"annotate: {card.name} must give one text a request, got {len(given)} answers to "
            f"{len(batch)} requests: {given!s:.80}. Correct the annotator; earlier batches stay."
        )
    texts = [" ".join(text.split()) for text in given]
    empty = [r.record_id for r, text in zip(batch, texts, strict=True) if not text]
    if empty:
        raise CohortError(
            f"annotate: {card.name} must answer every request, got nothing for {empty[0]} and "
            f"{len(empty) - 1} more."
        )
    return [
        Surrogate(
            record_id=r.record_id,
            text=text,
            instruction=r.instruction,
            seed=r.seed,
            request=r.digest(),
            model=card.name,
            digest=card.digest,
            version=card.version,
        )
        for r, text in zip(batch, texts, strict=True)
    ]
