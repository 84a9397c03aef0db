"""Word timings of the forced aligner gentle: ``align.csv`` and ``align.json``."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from ..._arguments import checked
from ..._io import read_json
from ...errors import CohortError
from .tables import read_lines
from .unfetched import refuse_unfetched
from .word_timings import Word


@checked
def read_gentle(path: str | Path) -> list[Word]:
    """Read the words of an alignment by gentle, in the order of the transcript.

    A word that was not found in the audio begins and ends with the end of the word before it, so
    that the text stays complete.

    Parameters
    ----------
    path : str or Path
        ``align.csv``, without a header: word, aligned word, onset, offset in seconds, the last two
        empty for words that were not found; or ``align.json``.

    Returns
    -------
    list of Word
        Times in seconds after the start of the audio file.

    Raises
    ------
    CohortError
        The file cannot be read, a time is invalid, or no word was found in the audio.
    """
    file = Path(path)
    refuse_unfetched(file)
    rows = _of_json(file) if file.suffix == ".json" else _of_csv(file)
    first = next((row[1] for row in rows if row[1] is not None), None)
    if first is None:
        raise CohortError(f"read_gentle: {file} must hold words with times, got none.")
    words: list[Word] = []
    for text, onset, offset in rows:
        before = words[-1].offset if words else first
        begin = before if onset is None or offset is None else onset
        end = before if onset is None or offset is None else offset
        if not (math.isfinite(begin) and math.isfinite(end) and 0 <= begin <= end):
            raise CohortError(
                f"read_gentle: {file} must have words that end after they begin, got {text!r} from "
                f"{begin} to {end} s."
            )
        words.append(Word(text, begin, end))
    return words


_Row = tuple[str, "float | None", "float | None"]


def _of_csv(file: Path) -> list[_Row]:
    rows: list[_Row] = []
    for number, cells in enumerate(csv.reader(read_lines(file)), start=1):
        if not cells or not cells[0].strip():
            continue
        try:
            onset, offset = ([*cells, "", ""][i].strip() for i in (2, 3))
            times = (float(onset), float(offset)) if onset and offset else (None, None)
        except ValueError as error:
            raise CohortError(
                f"read_gentle: {file} line {number} must be word, aligned word, onset, offset, got "
                f"{cells!s:.80}."
            ) from error
        rows.append((cells[0].strip(), *times))
    return rows


def _of_json(file: Path) -> list[_Row]:
    value = read_json(file)
    given: Any = value.get("words") if isinstance(value, dict) else None
    rows: list[_Row] = []
    try:
        for word in given:
            found = word.get("case") == "success"
            times = (float(word["start"]), float(word["end"])) if found else (None, None)
            rows.append((str(word["word"]).strip(), *times))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CohortError(
            f"read_gentle: {file} must be an alignment by gentle, got '{error}'."
        ) from error
    return [row for row in rows if row[0]]
