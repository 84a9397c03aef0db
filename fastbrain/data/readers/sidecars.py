"""Metadata of BIDS images: inherited sidecars, and the acquisition times of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..._rules import number as is_number
from ...errors import CohortError
from .entities import inherits, sidecar_beside, suffix_of
from .tables import MISSING
from .tree import Tree

EVEN_S = 0.01  # largest deviation of a volume from even spacing; scanners log in steps of 2.5 ms
AGREE_S = 1e-3  # largest difference of two values of the same time
_DISCARDED = {
    "NumberOfVolumesDiscardedByScanner": "the scanner",
    "NumberOfVolumesDiscardedByUser": "the user",
}


@dataclass(frozen=True)
class Clock:
    """Acquisition times of the volumes of a run, as far as its sidecars state them.

    Parameters
    ----------
    tr : float or None
        Seconds from the start of one volume to the start of the next.
    start_time : float or None
        Acquisition time of the first volume on the clock of the events, seconds.
    notes : tuple of str
        Assumptions about the clock, to be printed.
    n_volumes : int or None
        Number of volumes with listed times.
    """

    tr: float | None = None
    start_time: float | None = None
    notes: tuple[str, ...] = ()
    n_volumes: int | None = None


@dataclass(frozen=True)
class Sidecar:
    """Merged metadata of an image.

    Parameters
    ----------
    image : Path
    fields : dict
    sources : dict of str to Path
        Source file of each field.
    """

    image: Path
    fields: dict[str, Any]
    sources: dict[str, Path]

    def number(self, name: str) -> float | None:
        """Return a numeric field; None if it is absent.

        Raises
        ------
        CohortError
            The field is not a finite number.
        """
        value = self.fields.get(name)
        if value is None:
            return None
        if not is_number(value):
            self.refuse(name, "be a finite number", str(value), "Correct it.")
        return float(value)

    def words(self, name: str) -> str:
        """Return a field that holds a text; "" if it is absent, empty or ``n/a``.

        Raises
        ------
        CohortError
            The field is not a text.
        """
        value = self.fields.get(name, "")
        if not isinstance(value, str):
            self.refuse(name, "be a text", str(value), "Correct it.")
        words = " ".join(value.split())
        return "" if words in MISSING else words

    def times(self, name: str) -> list[float] | None:
        """Return a field that lists times in seconds; None if it is absent or empty.

        Raises
        ------
        CohortError
            The field is not a list of numbers >= 0.
        """
        value = self.fields.get(name)
        if value is None or value == []:
            return None
        if not isinstance(value, list) or not all(is_number(v) and v >= 0 for v in value):
            self.refuse(name, "be a list of seconds >= 0", str(value), "Correct it.")
        return [float(v) for v in value]

    def refuse(self, name: str, contract: str, found: str, remedy: str) -> NoReturn:
        """Raise a :class:`CohortError` that names file and field."""
        raise CohortError(
            f"sidecar: {name} in {self.sources[name]} (of {self.image.name}) must {contract}, got "
            f"{found:.120}. {remedy}"
        )


def read_sidecar(tree: Tree, image: Path, tags: dict[str, str]) -> Sidecar:
    """Merge the sidecars of an image from the root down; nearer ones take precedence.

    A JSON file with the name of the image is its own. Others are inherited as in BIDS: those with
    the suffix of the image (``bold``) and no entity or word in their names that it lacks.

    Parameters
    ----------
    tree : Tree
    image : Path
        File below the root; it need not exist.
    tags : dict of str to str
        Entities of the image.

    Raises
    ------
    CohortError
        A sidecar is damaged, not fetched or leads out of the tree, or two in one folder disagree.
    """
    fields: dict[str, Any] = {}
    sources: dict[str, Path] = {}
    beside, ending = sidecar_beside(image).name, f"{suffix_of(image)}.json"
    for folder in reversed(tree.up(image)):
        fitting = [
            (len(own), path)
            for path, own in tree.files(folder)
            if path.name == beside
            or (
                path.name.endswith(ending) and own.items() <= tags.items() and inherits(image, path)
            )
        ]
        here: dict[str, Path] = {}
        for _, path in sorted(fitting):
            found = tree.json(path)
            for name in here.keys() & found.keys():
                if fields[name] != found[name]:
                    raise CohortError(
                        f"sidecar: {name} of {image.name} must be one in a folder, got "
                        f"{fields[name]!s:.40} in {here[name]} and {found[name]!s:.40} in "
                        f"{path.name}. BIDS allows one sidecar a folder: correct one of the two."
                    )
            here |= dict.fromkeys(found, path)
            fields |= found
            sources |= dict.fromkeys(found, path)
    return Sidecar(image, fields, sources)


def clock_of(sidecar: Sidecar) -> Clock:
    """Read repetition time and start of a run; raises unless its volumes are evenly spaced.

    Onsets of BIDS events count from the first stored volume, so that volumes discarded before it
    shift nothing.

    Raises
    ------
    CohortError
        A field contradicts another one, or the stated times are impossible with one repetition
        time; the message names file and field.
    """
    tr = sidecar.number("RepetitionTime")
    if tr is not None and tr <= 0:
        sidecar.refuse("RepetitionTime", "be > 0 s", f"{tr:g}", "Correct it.")
    listed = sidecar.times("VolumeTiming")
    if listed is not None:
        even = _even_step(sidecar, listed)
        if tr is not None and abs(tr - even) > AGREE_S:
            sidecar.refuse(
                "VolumeTiming", f"agree with RepetitionTime {tr:g} s", f"steps of {even:g} s",
                "BIDS allows one of the two: remove the wrong one.",
            )  # fmt: skip
        tr = even if tr is None else tr
    _check_excitation(sidecar, tr)
    _check_within(sidecar, tr)
    start = sidecar.number("StartTime")
    notes = []
    if start is None and sidecar.fields.get("SliceTimingCorrected") is True:
        notes.append(
            "slice timing was corrected without StartTime: volume k is taken to be at k TR. If the "
            "slices were shifted to the middle of the volume, add --onset-offset of minus half a TR"
        )
    if start:
        notes.append(f"StartTime is {start:g} s: volume k is taken to be at {start:g} s + k TR")
    for name, program in _DISCARDED.items():
        count = sidecar.number(name)
        if count is not None and (count < 0 or count != int(count)):
            sidecar.refuse(name, "be a whole number >= 0", f"{count:g}", "Correct it.")
        if count:
            notes.append(
                f"{count:g} volumes were discarded by {program}; onsets are taken to count from "
                "the first volume that was kept, as BIDS has it (else shift them by --onset-offset)"
            )
    return Clock(tr, start, tuple(notes), None if listed is None else len(listed))


def joined(raw: Clock, derived: Clock, *, image: Path) -> Clock:
    """Merge the clocks of a preprocessed image and of its raw image.

    Raises
    ------
    CohortError
        The repetition times differ.
    """
    if raw.tr is not None and derived.tr is not None and abs(raw.tr - derived.tr) > AGREE_S:
        raise CohortError(
            f"sidecar: RepetitionTime of {image} must be that of the raw image, {raw.tr:g} s, got "
            f"{derived.tr:g} s. Was it resampled in time? Then write a runs table."
        )
    return Clock(
        raw.tr if raw.tr is not None else derived.tr,
        derived.start_time if derived.start_time is not None else raw.start_time,
        tuple(dict.fromkeys([*raw.notes, *derived.notes])),
        derived.n_volumes if derived.n_volumes is not None else raw.n_volumes,
    )


def _even_step(sidecar: Sidecar, times: Sequence[float]) -> float:
    """Return the seconds between volumes; raises unless they begin at 0 and are evenly spaced."""
    name = "VolumeTiming"
    if len(times) < 2:
        sidecar.refuse(name, "list two volumes or more", str(times), "State RepetitionTime.")
    if times[0] > AGREE_S:
        sidecar.refuse(
            name, "begin at 0, where onsets of BIDS events count from", f"{times[0]:g} s",
            "Subtract it from all volumes; from the onsets too, if they are on the same clock.",
        )  # fmt: skip
    step = (times[-1] - times[0]) / (len(times) - 1)
    off = max(abs(time - times[0] - k * step) for k, time in enumerate(times))
    if not (step > 0 and off <= EVEN_S):
        sidecar.refuse(
            name, f"be evenly spaced within {EVEN_S:g} s", f"up to {off:.3g} s off even spacing",
            "Windows are counted in volumes of one repetition time: resample the run to even "
            "spacing, or leave it out.",
        )  # fmt: skip
    return round(step, 6)


def _check_excitation(sidecar: Sidecar, tr: float | None) -> None:
    name = "RepetitionTimeExcitation"
    excitation = sidecar.number(name)
    if excitation is None:
        return
    if tr is None:
        sidecar.refuse(
            name, "come with RepetitionTime, the time between volumes", "it alone",
            "State RepetitionTime.",
        )  # fmt: skip
    elif excitation > tr + AGREE_S:
        sidecar.refuse(
            name, f"be at most RepetitionTime, {tr:g} s", f"{excitation:g} s",
            "RepetitionTime is the time between volumes: correct it.",
        )  # fmt: skip


def _check_within(sidecar: Sidecar, tr: float | None) -> None:
    """Check that slices, pause and acquisition fit into the repetition time."""
    delay = sidecar.number("DelayTime")
    slices = sidecar.times("SliceTiming")
    acquisition = sidecar.number("AcquisitionDuration")
    if tr is None:
        return
    if delay is not None and not 0 <= delay < tr:
        sidecar.refuse(
            "DelayTime", f"be >= 0 s and below RepetitionTime, {tr:g} s, which includes it",
            f"{delay:g} s", "State the time from volume to volume as RepetitionTime.",
        )  # fmt: skip
    pause = delay or 0.0
    if slices is not None and max(slices) > tr - pause + AGREE_S:
        sidecar.refuse(
            "SliceTiming", f"lie within the acquisition of a volume, {tr - pause:g} s",
            f"up to {max(slices):g}", "It is in seconds, and RepetitionTime includes DelayTime.",
        )  # fmt: skip
    # some converters write the duration of the whole run here, which is ignored
    if acquisition is not None and acquisition <= tr + AGREE_S < acquisition + pause:
        sidecar.refuse(
            "AcquisitionDuration", f"leave the DelayTime of {pause:g} s within RepetitionTime, "
            f"{tr:g} s", f"{acquisition:g} s", "RepetitionTime includes DelayTime: correct it.",
        )  # fmt: skip
