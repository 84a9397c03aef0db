"""Leak auditor: refuses a split in which information leaks between parts, and names the pairs.

A published decoder (BrainLLM, arXiv 2311.09889) was scored on samples of which 77 % had the
identical scan in the training part, and its validation part was its test part. Such a score is
meaningless, and the score alone does not reveal it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from ..._arguments import checked
from ...errors import InputError, LeakError
from ..splits.split import PARTS, Key
from .checks import (
    KINDS,
    AuditPart,
    AuditRecord,
    Kind,
    Leak,
    Tally,
    broken_claims,
    close_windows,
    shared_families,
    shared_field,
    shared_samples,
    shared_scans,
    shorten,
    sizes_of,
)
from .fit_scope import FitScope, outside_training
from .text_leaks import shared_texts, telling_prompts, words_of

# kinds of leak that a declared closed set of texts permits between parts
_CLOSED: tuple[Kind, ...] = ("text", "stimulus", "prompt")
_WORST = ("train", "test")  # listed first
_LISTED = 4  # kinds of findings listed in a message
# kind -> the record field it compares
_NEEDS: dict[Kind, str] = {
    "scan": "scans",
    "window": "frames",
    "stimulus": "stimulus",
    "text": "text",
    "story": "story",
    "family": "family",
}


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Parameters
    ----------
    findings : tuple of Leak
        Leaks, worst kind first.
    declared : tuple of Leak
        Findings that are not leaks because the split declares a closed set of texts.
    sizes : dict of str to int
        Number of samples in each part.
    guard_trs : int
        Required distance between windows of different parts, in volumes.
    closed_set : bool
        Whether the split declares a closed set of texts.
    texts : int
        Number of different texts in the test part.
    unchecked : tuple of str
        Kinds that were not checked because no sample has the data they compare.
    fits : dict of str to int
        Number of samples that each estimator was fitted on.
    allowed : str or None
        Reason given by the user for accepting the findings.
    """

    findings: tuple[Leak, ...]
    declared: tuple[Leak, ...]
    sizes: dict[str, int]
    guard_trs: int
    closed_set: bool
    texts: int
    unchecked: tuple[str, ...]
    fits: dict[str, int]
    allowed: str | None = None
    _part_of: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def clean(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    def summary(self) -> str:
        """Describe in one line the findings and the reason for which they were allowed."""
        if self.clean:
            return "no leak found"
        alike: dict[tuple[str, ...], list[Leak]] = {}
        for leak in self.findings:
            fitted = leak.examples[0][:1] if leak.kind == "fit" else ()  # each estimator by name
            alike.setdefault((leak.kind, *fitted), []).append(leak)
        groups = [sorted(leaks, key=lambda leak: leak.parts != _WORST) for leaks in alike.values()]
        listed = "; ".join(
            f"{KINDS[leaks[0].kind]} in {', '.join(leak.place for leak in leaks)}, "
            f"e.g. {leaks[0].example}"
            for leaks in groups[:_LISTED]
        )
        if more := [leaks[0].kind for leaks in groups[_LISTED:]]:
            listed += f"; and {len(more)} more findings ({', '.join(dict.fromkeys(more))})"
        return listed + (f"; allowed: {self.allowed}" if self.allowed else "")

    def remedy(self) -> str:
        """Say what to do about the findings."""
        kinds = {leak.kind for leak in self.findings}
        if "closed" in kinds:
            return (
                "A closed set is the texts of training: split so that training has every text, or "
                "prepare the store without --closed-set (closed_set=False)."
            )
        otherwise = "split by what is shared, or give a reason to accept it (--allow-leak REASON)."
        if self.closed_set or not kinds <= set(_CLOSED):
            return otherwise[:1].upper() + otherwise[1:]
        return (
            f"If the {self.texts} texts of the test part are a closed set that training may know, "
            "for example categories, prepare the store with --closed-set (closed_set=True). If "
            f"not, {otherwise}"
        )

    def check(self, *, allow: str | None = None) -> Audit:
        """Raise if the split leaks.

        Parameters
        ----------
        allow : str, optional
            Reason for accepting the leaks; it is included in every report.

        Returns
        -------
        Audit
            The same audit, with the reason in `allowed`.

        Raises
        ------
        LeakError
            There are findings and no reason was given; the message names kinds and pairs.
        InputError
            The reason is empty.
        """
        if allow is not None and not allow.strip():
            raise InputError("Audit.check: allow must be a reason, got an empty one.")
        if self.findings and allow is None:
            raise LeakError(
                f"audit: split must have no leak, got {self.summary()}. {self.remedy()}"
            )
        return replace(self, allowed=allow)

    def with_fits(self, fits: Iterable[FitScope]) -> Audit:
        """Add fitted estimators, with a finding for each that used samples outside training."""
        fits = list(fits)
        found = outside_training(fits, self._part_of, self.sizes)
        counts = {scope.name: len(set(scope.fitted_on)) for scope in fits}
        return replace(self, findings=(*self.findings, *found), fits=self.fits | counts)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values, for manifests and reports."""
        return {
            "clean": self.clean,
            "allowed": self.allowed,
            "findings": [leak.to_json() for leak in self.findings],
            "declared": [leak.to_json() for leak in self.declared],
            "samples": dict(self.sizes),
            "guard_trs": self.guard_trs,
            "closed_set": self.closed_set,
            "texts": self.texts,
            "unchecked": list(self.unchecked),
            "fits": dict(self.fits),
        }


@checked
def audit_records(
    records: Iterable[AuditRecord],
    *,
    fits: Iterable[FitScope] = (),
    prompts: Sequence[str] = (),
    guard_trs: int = 0,
    keys: Sequence[str] = (),
    val_keys: Sequence[str] = (),
    closed_set: bool = False,
) -> Audit:
    """Search for leaks of every kind between parts; 10,000 samples take about a second.

    Parameters
    ----------
    records : iterable of AuditRecord
        Samples of a store or of plain arrays.
    fits : iterable of FitScope
        Fitted estimators and the samples each was fitted on.
    prompts : sequence of str
        Prompts that every sample gets; prompts of single samples are in the records.
    guard_trs : int
        Volumes required between windows of different parts: window + haemodynamic delay.
        0 finds only windows that share volumes.
    keys, val_keys : sequence of str
        Fields that the split holds out, see :class:`fastbrain.data.Split`.
    closed_set : bool
        Whether the texts are declared to be a known closed set, all of which occur in training.
        Shared texts, shared stimuli and prompts that list texts are then reported, not refused.

    Returns
    -------
    Audit
        Call :meth:`Audit.check` to raise on leaks.

    Raises
    ------
    InputError
        A record has an unknown part or negative `frames`, the training or test part is missing,
        the guard is negative, or a key is unknown.
    """
    records, fits = list(records), list(fits)
    _check(records, guard_trs, (*keys, *val_keys))
    sizes = sizes_of(records)
    # a sample in two parts is reported as a "sample" leak; here the later record counts, test last
    part_of = {r.record_id: r.part for r in sorted(records, key=lambda r: r.part == "test")}
    found = [
        *shared_samples(records),
        *broken_claims(records, keys, val_keys),
        *shared_scans(records),
        *close_windows(records, guard_trs),
        *shared_field("stimulus", records, "stimulus"),
        *shared_texts(records),
        *shared_field("story", records, "story"),
        *shared_families(records),
        *telling_prompts(records, prompts),
    ]
    texts = {part: {words_of(r.text) for r in records if r.part == part} for part in PARTS}
    waived = _CLOSED if closed_set else ()
    if closed_set:
        found += _untrained(records, texts["train"])
    audit = Audit(
        findings=tuple(leak for leak in found if not _waives(leak, waived)),
        declared=tuple(leak for leak in found if _waives(leak, waived)),
        sizes=sizes,
        guard_trs=guard_trs,
        closed_set=closed_set,
        texts=len(texts["test"]),
        unchecked=_unchecked(records, prompts, fits),
        fits={},
        _part_of=part_of,
    )
    return audit.with_fits(fits)


def _check(records: Sequence[AuditRecord], guard_trs: int, keys: Sequence[str]) -> None:
    odd = [r for r in records if r.part not in get_args(AuditPart)]
    if odd:
        raise InputError(
            f"audit: part must be one of {get_args(AuditPart)}, got {odd[0].part!r} of "
            f"{odd[0].record_id}."
        )
    absent = {"train", "test"} - {r.part for r in records}
    if absent:
        raise InputError(
            f"audit: records must have a training and a test part, got no {min(absent)}."
        )
    if guard_trs < 0:
        raise InputError(f"audit: guard_trs must be >= 0, got {guard_trs}.")
    unknown = [key for key in keys if key not in get_args(Key)]
    if unknown:
        raise InputError(f"audit: keys must be among {get_args(Key)}, got {unknown[0]!r}.")
    if any(r.frames < 0 for r in records):
        raise InputError("audit: frames must be >= 0, got a negative number.")


def _untrained(records: Sequence[AuditRecord], known: set[tuple[str, ...]]) -> list[Leak]:
    """Find test texts that do not occur in training although a closed set was declared."""
    new = [r for r in records if r.part == "test" and words_of(r.text) not in known]
    tally = Tally("closed", sizes_of(records))
    tally.count(
        _WORST,
        len(new),
        [r.record_id for r in new],
        (("train", r.record_id, shorten(r.text)) for r in new),
    )
    return tally.leaks()


def _waives(leak: Leak, kinds: Sequence[Kind]) -> bool:
    # a prompt that contains the text of its own sample is a leak in a closed set too
    return leak.kind in kinds and leak.parts[0] != leak.parts[1]


def _unchecked(
    records: Sequence[AuditRecord], prompts: Sequence[str], fits: Sequence[FitScope]
) -> tuple[str, ...]:
    given = {kind: any(getattr(r, name) for r in records) for kind, name in _NEEDS.items()}
    given |= {"prompt": bool(prompts) or any(r.texts_before for r in records), "fit": bool(fits)}
    return tuple(kind for kind in KINDS if not given.get(kind, True))
