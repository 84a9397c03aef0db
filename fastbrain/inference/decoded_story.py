"""Running text of a story, segment by segment, with its scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ..data.readers.tables import tsv_text
from ..evaluation.scores import Score


@dataclass(frozen=True)
class StorySegment:
    """Decoded text of one window of a story.

    Parameters
    ----------
    run, subject, trial_id : str
    start_s, end_s : float
        When the segment was heard, seconds on the clock of the events.
    part : str
        Part of the split of training that the window belongs to, "new" in another store.
    words : int
        Number of words, predicted from the window.
    text : str
        Decoded text; "" if no word is predicted or the window is held.
    without_brain : str
        Text of the language model alone, with as many words.
    from_noise : str
        Text from the same scans with randomised phases, with as many words.
    heard : str
        Words of the transcript, "" if not known.
    held : str
        Why the window is not decoded.
    """

    run: str
    subject: str
    trial_id: str
    start_s: float
    end_s: float
    part: str
    words: int
    text: str
    without_brain: str
    from_noise: str
    heard: str
    held: str = ""


@dataclass(frozen=True)
class DecodedStory:
    """Running text of a story, run by run in the order of time.

    Parameters
    ----------
    segments : tuple of StorySegment
    scores : tuple of Score
        Of the test windows (of all, in another store) with a transcript: against the same texts
        shifted within their run, against texts from noise, and beside the language model alone.
        The last has no p: the difference from it includes what training taught the model about
        the corpus, with or without a signal. Empty if none can be computed;
        ``facts["not_scored"]`` gives the reason.
    facts : dict
        Run, story, source and settings, as JSON values.
    """

    segments: tuple[StorySegment, ...]
    scores: tuple[Score, ...]
    facts: dict[str, Any]

    def to_tsv(self) -> str:
        """Format the segments as a table with a header."""
        names = [field.name for field in fields(StorySegment)]
        rows = [[" ".join(str(getattr(s, name)).split()) for name in names] for s in self.segments]
        return tsv_text(names, rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        texts: dict[str, str] = {}
        for s in self.segments:
            texts[s.run] = f"{texts.get(s.run, '')} {s.text}".strip()
        return {
            **self.facts,
            "texts": texts,
            "segments": [asdict(s) for s in self.segments],
            "scores": [s.to_json() for s in self.scores],
        }
