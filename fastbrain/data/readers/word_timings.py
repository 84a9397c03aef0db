"""Word timings from TextGrids and tables, and their assignment to volumes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, InputError
from .tables import given, read_csv, read_tsv, seconds_of
from .timing import volume_during
from .unfetched import refuse_unfetched

# labels that aligners write for silence, breath and noise
NOT_WORDS = ("", "sp", "sil", "br", "lg", "ls", "ns", "cg", "{br}", "{lg}", "{ls}", "{ns}", "{cg}")
_TOKENS = re.compile(
    r'"((?:[^"]|"")*)"|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|<(exists|absent)>'
)


@dataclass(frozen=True)
class Word:
    """A word with its onset and offset.

    Parameters
    ----------
    text : str
    onset, offset : float
        Seconds after the start of the stimulus.
    """

    text: str
    onset: float
    offset: float


@dataclass(frozen=True)
class StorySample:
    """A segment of a story, and the words before it as prompt.

    Parameters
    ----------
    text, prompt : str
    start, stop : int
        Volumes during which `text` was heard, `stop` not included. The response comes later:
        ``lagged_windows(features, [s.stop - 1 for s in samples])``.
    words : int
        Number of words in `text`, the target of a word-rate model.
    """

    text: str
    prompt: str
    start: int
    stop: int
    words: int


@checked
def read_words(
    path: str | Path,
    *,
    tier: str = "word",
    column: str = "word",
    skip: Sequence[str] = NOT_WORDS,
) -> list[Word]:
    """Read word timings from a TextGrid (long or short) or a table, such as BIDS events.

    Parameters
    ----------
    path : str or Path
        ``.TextGrid``, or ``.tsv`` or ``.csv`` with the columns `column`, ``onset`` and one of
        ``duration`` and ``offset``, in seconds.
    tier : str
        Interval tier of a TextGrid.
    column : str
        Column of a table that holds the words.
    skip : sequence of str
        Labels that are not words, in lower case.

    Returns
    -------
    list of Word
        Sorted by onset.

    Raises
    ------
    CohortError
        The file cannot be read, has no such tier or column, or no words, or a time is not a number
        or a word ends before it begins.
    """
    file = Path(path)
    if file.suffix.lower() == ".textgrid":
        rows = _textgrid(file, tier)
    elif file.suffix.lower() in (".tsv", ".csv"):
        rows = _table(file, column)
    else:
        raise CohortError(f"read_words: {file} must end in .TextGrid, .tsv or .csv.")
    words = [Word(t.strip(), a, b) for t, a, b in rows if t.strip().lower() not in skip]
    for word in words:
        if not (math.isfinite(word.onset) and word.offset >= word.onset):
            raise CohortError(
                f"read_words: {file} must have words that end after they begin, got {word}."
            )
    if not words:
        raise CohortError(f"read_words: {file} must hold words, got none.")
    return sorted(words, key=lambda word: word.onset)


@checked
def story_samples(
    words: Sequence[Word],
    *,
    tr: float,
    n_volumes: int,
    window: int = 4,
    step: int | None = None,
    prompt: int = 3,
    onset_s: float = 0.0,
    trim: tuple[int, int] = (0, 0),
) -> list[StorySample]:
    """Cut a story into segments of volumes, each with the text before it as prompt.

    Parameters
    ----------
    words : sequence of Word
    tr : float
        Seconds between volumes.
    n_volumes : int
        Number of volumes of the run.
    window : int
        Volumes per segment; BrainLLM uses 4.
    step : int, optional
        Volumes from the start of one segment to the next. Default: `window`, so that segments do
        not overlap; overlapping segments belong in the same part of a split.
    prompt : int
        Volumes before a segment that supply the words of its prompt (BrainLLM: 0 to 3).
    onset_s : float
        Start of the stimulus after the first volume, seconds. In Narratives it depends on the task.
    trim : (int, int)
        Volumes left out at the start and the end (LeBel et al.: 5 and 5).

    Returns
    -------
    list of StorySample
        Segments without words are left out.

    Raises
    ------
    InputError
        An option is out of range, or no word falls into the run.
    """
    step = window if step is None else step
    first, last = trim[0], n_volumes - trim[1]
    if not (tr > 0 and window >= 1 and step >= 1 and prompt >= 0 and 0 <= first < last):
        raise InputError(
            "story_samples: tr must be > 0, window and step >= 1, prompt >= 0 and trim leave "
            f"volumes, got {tr}, {window}, {step}, {prompt} and {trim} of {n_volumes}."
        )
    heard: dict[int, list[str]] = {}
    for word in sorted(words, key=lambda w: w.onset):
        volume = volume_during(word.onset + onset_s, tr)
        heard.setdefault(volume, []).append(word.text)

    def said(start: int, stop: int) -> list[str]:
        return [text for volume in range(start, stop) for text in heard.get(volume, [])]

    samples = []
    for start in range(first, last - window + 1, step):
        own = said(start, start + window)
        if own:
            before = " ".join(said(start - prompt, start))
            samples.append(StorySample(" ".join(own), before, start, start + window, len(own)))
    if not samples:
        raise InputError(
            f"story_samples: a word must fall into volumes {first} to {last - 1}, got none of "
            f"{len(words)}. Check tr and onset_s."
        )
    return samples


def _textgrid(file: Path, tier: str) -> list[tuple[str, float, float]]:
    refuse_unfetched(file)
    try:
        raw = file.read_bytes()
        # Praat writes UTF-16 if a label requires it
        coding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        content = raw.decode(coding)
    except (OSError, UnicodeError) as error:
        raise CohortError(f"read_words: {file} must be a readable text, got '{error}'.") from error
    # strings, free-standing numbers and flags contain all data; the rest is for human readers
    tokens: list[str | float] = [
        float(m[2]) if m[2] is not None else m[1].replace('""', '"') if m[1] is not None else m[3]
        for m in _TOKENS.finditer(content)
    ]
    names = []
    try:
        place = tokens.index("exists") + 1
        count = int(tokens[place])
        place += 1
        for _ in range(count):
            kind, name, size = tokens[place], tokens[place + 1], int(tokens[place + 4])
            place += 5
            width = 3 if kind == "IntervalTier" else 2
            if kind not in ("IntervalTier", "TextTier"):
                raise ValueError(f"unknown tier {kind!r}")
            rows = [tokens[place + i * width : place + (i + 1) * width] for i in range(size)]
            place += size * width
            if name == tier and width == 3:
                return [(str(text), _time(start), _time(end)) for start, end, text in rows]
            names.append(name)
    except (ValueError, IndexError, TypeError) as error:
        raise CohortError(f"read_words: {file} must be a TextGrid, got '{error}'.") from error
    raise CohortError(f"read_words: {file} must have an interval tier {tier!r}, got {names}.")


def _time(value: str | float) -> float:
    if isinstance(value, str):
        raise ValueError(f"the time {value!r}")
    return value


def _table(file: Path, column: str) -> list[tuple[str, float, float]]:
    names, table = (read_tsv if file.suffix.lower() == ".tsv" else read_csv)(file)
    ends = "duration" if "duration" in names else "offset"
    missing = [n for n in (column, "onset", ends) if n not in names]
    if missing:
        raise CohortError(
            f"read_words: {file} must have columns {column!r}, 'onset' and 'duration' or "
            f"'offset', got {names}."
        )
    rows = []
    for row in table:
        text = given(row, column, spoken=True)
        if not text:
            continue
        try:
            onset = seconds_of(row["onset"], where="onset")
            end = seconds_of(row[ends], where=ends)
        except CohortError as error:
            raise CohortError(
                f"read_words: {row.where} must have times in seconds: {error}"
            ) from error
        if onset is None or end is None:
            raise CohortError(
                f"read_words: {row.where} must have times in seconds, got onset '{row['onset']}' "
                f"and {ends} '{row[ends]}'."
            )
        rows.append((text, onset, onset + end if ends == "duration" else end))
    return rows
