"""Surrogate text: what a decoder should say where nobody wrote it down.

LLM4Brain (arXiv 2409.17987, section 3.2) gives each fMRI record a random instruction and takes the
answer of a video model as its target. Who answers is an :class:`Annotator`; every answer is kept
with who gave it, to which instruction and with which seed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
    """What an annotator is asked about one record.

    Parameters
    ----------
    record_id : str
    instruction : str
        What is asked.
    seed : int
        Of any choice the annotator makes for this record.
    stimulus, category, name : str
        As in :class:`fastbrain.data.studies.catalog.Label`.
    captions : tuple of str
        What people wrote about the stimulus.
    clip : str
        Path of the stimulus file, "" where there is none.
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
        """Equal for requests that ask the same about the same."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class AnnotatorCard:
    """Who answers: enough to know whether two answers come from the same source.

    Parameters
    ----------
    name : str
        Kind of annotator, and the model where there is one.
    digest : str
        Of all that decides its answers besides the request: weights, templates, settings.
    version : int
        Raised when the code that makes the answers changes them.
    """

    name: str
    digest: str
    version: int = 1


class Annotator(Protocol):
    """Answers requests; the same request gets the same answer."""

    @property
    def card(self) -> AnnotatorCard:
        """Who it is."""

    def annotate(self, requests: Sequence[Request]) -> list[str]:
        """One answer a request, in their order."""


@dataclass(frozen=True)
class Surrogate:
    """An answer and where it came from.

    Parameters
    ----------
    record_id, text, instruction : str
    seed : int
    request : str
        Digest of the request.
    model, digest : str
    version : int
        Card of the annotator.
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
    """A number 0..n-1 that depends on these arguments alone, not on what was drawn before."""
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
    """Answer every request, going on where an earlier start left off.

    Parameters
    ----------
    requests : sequence of Request
    annotator : Annotator
    cache : str or Path, optional
        Folder of this annotator's answers. A batch is written whole or not at all.
    batch_size : int

    Returns
    -------
    dict of str to Surrogate
        By record, in the order of the requests.

    Raises
    ------
    CohortError
        The cache is damaged or belongs to another annotator, or an answer is empty.
    ConfigError
        A record is asked about twice, or `batch_size` is below 1.
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
            number = len(list(folder.glob("part-*.jsonl")))
            write_surrogates(folder / f"part-{number:06d}.jsonl", answers)
        known |= {(s.record_id, s.request): s for s in answers}
    return {r.record_id: known[r.record_id, r.digest()] for r in requests}


def write_surrogates(path: Path, surrogates: Iterable[Surrogate]) -> None:
    """Write one JSON object a line, atomically."""
    lines = [json.dumps(asdict(s), ensure_ascii=False) for s in surrogates]
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_surrogates(path: Path) -> list[Surrogate]:
    """Inverse of :func:`write_surrogates`.

    Raises
    ------
    CohortError
        The file is missing or damaged; the message names it and the line.
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
    """Answers in a cache, which belongs to one annotator."""
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
            f"{card.version}), got those of {_told(before)}. Name another folder."
        )
    stored = [s for part in sorted(folder.glob("part-*.jsonl")) for s in read_surrogates(part)]
    return {(s.record_id, s.request): s for s in stored}


def _told(card: Any) -> str:
    if not isinstance(card, Mapping):
        return "nobody"
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
