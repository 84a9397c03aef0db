"""Checks for leaks between parts, by hashing values and sweeping windows instead of all pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

from ..splits.guard_windows import close_pairs, count_close, spans
from ..splits.split import PAIRS

Kind = Literal[
    "sample",
    "claim",
    "closed",
    "scan",
    "window",
    "stimulus",
    "text",
    "story",
    "family",
    "prompt",
    "fit",
]
AuditPart = Literal["train", "adapt", "val", "test"]
# what each kind means, for messages and tables
KINDS: dict[Kind, str] = {
    "sample": "the same sample",
    "claim": "what the split claims to hold out",
    "closed": "a text outside the declared closed set",
    "scan": "identical scans",
    "window": "windows that overlap, haemodynamic delay included",
    "stimulus": "the same stimulus",
    "text": "the same text",
    "story": "the same story or passage",
    "family": "relatives",
    "prompt": "a prompt that holds the text to decode",
    "fit": "fitted outside the training part",
}
EXAMPLES = 5  # pairs stored by id; all pairs are counted
_SHOWN_CHARACTERS = 40
_SCAN_PAIRS: tuple[tuple[AuditPart, AuditPart], ...] = (*PAIRS, ("adapt", "test"))


@dataclass(frozen=True)
class AuditRecord:
    """One sample for the auditor; empty fields are not compared.

    Parameters
    ----------
    record_id : str
    part : str
        ``"train"``, ``"val"``, ``"test"``, or ``"adapt"``: windows of the test subjects that are
        used without their texts and never scored.
    subject, session, run, run_id, family, site : str
        Origin of the scan; windows are compared within a `run_id`.
    story, stimulus, category, text : str
        The stimulus, and the text to decode.
    prompt, instruction : str
        Prompt of this sample only, and the instruction that its text answers.
    start, frames : int
        First volume and number of volumes of the window in its run.
    scans : tuple of str
        Digests of the images of the sample (:func:`fastbrain.data.scan_digests`).
    """

    record_id: str
    part: AuditPart
    subject: str = ""
    session: str = ""
    run: str = ""
    run_id: str = ""
    family: str = ""
    site: str = ""
    story: str = ""
    stimulus: str = ""
    category: str = ""
    text: str = ""
    prompt: str = ""
    start: int = 0
    frames: int = 0
    scans: tuple[str, ...] = ()
    instruction: str = ""

    @property
    def texts_before(self) -> tuple[str, ...]:
        """Every text that the model is given before the text of the sample."""
        return tuple(text for text in (self.instruction, self.prompt) if text)


@dataclass(frozen=True)
class Leak:
    """One kind of leak between two parts.

    Parameters
    ----------
    kind : str
        A key of ``KINDS``.
    parts : tuple of str
        Part that has the information, and part it is about: ``("train", "test")``.
    pairs : int
        Pairs of samples, one of each part, counted once for each value they share.
    affected, of : int
        Affected samples of the second part, and size of that part.
    examples : tuple of tuple of str
        The first pairs: an id of each part, and the value they share.
    """

    kind: Kind
    parts: tuple[str, str]
    pairs: int
    affected: int
    of: int
    examples: tuple[tuple[str, str, str], ...]

    @property
    def place(self) -> str:
        """The two parts, and how many samples of the second are affected."""
        share = f"{self.affected} of {self.of}" if self.of else f"{self.affected}"
        parts = self.parts[1:] if self.kind == "closed" else self.parts
        return f"{' and '.join(parts)} ({share} {self.parts[1]} samples)"

    @property
    def example(self) -> str:
        """The first pair, and the value it shares."""
        one, other, what = self.examples[0]
        ids = other if self.kind == "closed" else f"{one} and {other}"
        return ids + (f" '{what}'" if what else "")

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        row = asdict(self)
        examples = [list(e) for e in self.examples]
        return row | {"means": KINDS[self.kind], "parts": list(self.parts), "examples": examples}


class Tally:
    """Counts the pairs of one kind and keeps the first few.

    Parameters
    ----------
    kind : str
    sizes : mapping of str to int
        Number of samples in each part.
    """

    def __init__(self, kind: Kind, sizes: Mapping[str, int]) -> None:
        self.kind, self.sizes = kind, sizes
        self._pairs: dict[tuple[str, str], int] = {}
        self._affected: dict[tuple[str, str], set[str]] = {}
        self._examples: dict[tuple[str, str], list[tuple[str, str, str]]] = {}

    def add(
        self, parts: tuple[str, str], first: Sequence[str], second: Sequence[str], what: str = ""
    ) -> None:
        """Count all pairs of an id of `first` and an id of `second`, which share `what`."""
        pairs = ((a, b, what) for a in first for b in second)
        self.count(parts, len(first) * len(second), second, pairs)

    def count(
        self,
        parts: tuple[str, str],
        pairs: int,
        affected: Iterable[str],
        examples: Iterable[tuple[str, str, str]],
    ) -> None:
        """Add pairs that the caller has counted."""
        if not pairs:
            return
        self._pairs[parts] = self._pairs.get(parts, 0) + pairs
        self._affected.setdefault(parts, set()).update(affected)
        kept = self._examples.setdefault(parts, [])
        kept += islice(examples, EXAMPLES - len(kept))

    def leaks(self) -> list[Leak]:
        """Return one :class:`Leak` for every two parts with pairs."""
        return [
            Leak(
                self.kind,
                parts,
                self._pairs[parts],
                len(self._affected[parts]),
                self.sizes.get(parts[1], 0),
                tuple(self._examples[parts]),
            )
            for parts in self._pairs
        ]


def shared_values(
    kind: Kind,
    records: Sequence[AuditRecord],
    values: Callable[[AuditRecord], Iterable[Any]],
    show: Callable[[Any], str],
    pairs: Iterable[tuple[str, str]] = PAIRS,
) -> list[Leak]:
    """Find values that records of two parts have in common."""
    holders: dict[Any, dict[str, list[str]]] = {}
    for record in records:
        for value in dict.fromkeys(values(record)):
            holders.setdefault(value, {}).setdefault(record.part, []).append(record.record_id)
    tally = Tally(kind, sizes_of(records))
    for value, by_part in holders.items():
        for one, other in pairs:
            if one in by_part and other in by_part:
                tally.add((one, other), by_part[one], by_part[other], show(value))
    return tally.leaks()


def shared_samples(records: Sequence[AuditRecord]) -> list[Leak]:
    """Find samples that are in two parts."""
    return shared_values("sample", records, lambda r: [r.record_id], str, _SCAN_PAIRS)


def shared_scans(records: Sequence[AuditRecord]) -> list[Leak]:
    """Find images of two parts that are equal byte for byte."""
    return shared_values(
        "scan", records, lambda r: filter(None, r.scans), lambda digest: "", _SCAN_PAIRS
    )


def shared_field(kind: Kind, records: Sequence[AuditRecord], field: str) -> list[Leak]:
    """Find values of a field, such as stimulus or story, that occur in two parts."""
    return shared_values(kind, records, lambda r: filter(None, [getattr(r, field)]), shorten)


def broken_claims(
    records: Sequence[AuditRecord], keys: Iterable[str], val_keys: Iterable[str]
) -> list[Leak]:
    """Find values of the held-out keys of the split that occur in two parts."""
    found: list[Leak] = []
    for names, pairs in ((keys, PAIRS[1:]), (val_keys, PAIRS[:1])):
        for key in names:
            found += shared_values(
                "claim",
                records,
                lambda r, key=key: filter(None, [getattr(r, key)]),  # type: ignore[misc]
                lambda value, key=key: f"{key} {value}",  # type: ignore[misc]
                pairs,
            )
    return found


def shared_families(records: Sequence[AuditRecord]) -> list[Leak]:
    """Find families that occur in two parts, for parts that have no subject in common."""
    people: dict[str, set[str]] = {}
    for record in records:
        people.setdefault(record.part, set()).add(record.subject)
    apart = [
        (one, other)
        for one, other in PAIRS
        if not people.get(one, set()) & people.get(other, set())
    ]
    return shared_values(
        "family", records, lambda r: filter(None, [r.family]), lambda f: f"family {f}", apart
    )


def close_windows(records: Sequence[AuditRecord], guard_trs: int) -> list[Leak]:
    """Find windows of one run with fewer than `guard_trs` volumes between them."""
    runs: dict[str, dict[str, list[AuditRecord]]] = {}
    for record in records:
        if record.run_id and record.frames:
            runs.setdefault(record.run_id, {}).setdefault(record.part, []).append(record)
    tally = Tally("window", sizes_of(records))
    for by_part in runs.values():
        for one, other in _SCAN_PAIRS:
            first, second = by_part.get(one, []), by_part.get(other, [])
            windows = spans([(r.start, r.frames) for r in first])
            others = spans([(r.start, r.frames) for r in second])
            counts = count_close(others, windows, guard_trs)
            tally.count(
                (one, other),
                int(counts.sum()),
                [r.record_id for r, n in zip(second, counts, strict=True) if n],
                (
                    (first[i].record_id, second[j].record_id, "")
                    for i, j in close_pairs(windows, others, guard_trs)
                ),
            )
    return tally.leaks()


def sizes_of(records: Iterable[AuditRecord]) -> dict[str, int]:
    """Count the samples of each part."""
    sizes: dict[str, int] = {}
    for record in records:
        sizes[record.part] = sizes.get(record.part, 0) + 1
    return sizes


def shorten(text: str) -> str:
    """Cut a text to 40 characters, for messages."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
