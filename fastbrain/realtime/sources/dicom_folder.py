"""DICOM files of one series in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import VolumeError
from ..dicom.completeness import Incomplete, read_header
from ..dicom.elements import require_pydicom
from ..dicom.header import Header
from ..dicom.reader import Image, as_volume, file_bytes, plausible_tr, whole_volume
from ..dicom.slices import OpenVolume, Slice, read_slice
from ..volume import BadVolume
from .folder import Item, Unfinished

# exported beside images, and never one
_OTHER_FILES = (
    *(".txt", ".json", ".xml", ".log", ".csv", ".tsv", ".md", ".nii", ".gz", ".bval", ".bvec"),
    *(".sh", ".py", ".pdf", ".html", ".lock", ".zip"),
)
_MOST_OPEN = 8  # volumes that slices arrive for at a time
_DAY_S = 86400.0
NEW = "new"
_STEP = 16  # files that are looked at between two yields


class DicomReader:
    """Reads the files of one series; files of other series are left alone.

    The series is `series`; without it, the one that the newest file belongs to that is there at
    first, or the one of the first image that arrives.

    Parameters
    ----------
    series : int, str or None
        Number of the series (SeriesNumber), its SeriesInstanceUID, or ``"new"`` for the first one
        that arrives after the start.
    slices : int or None
        Number of slices in a volume, for scanners that store a slice a file and do not state it.
    """

    def __init__(self, *, series: int | str | None, slices: int | None) -> None:
        require_pydicom()
        self._series, self._slices = series, slices
        self._uid: str | None = None
        # number, time of day and repetition time of the first volume that was seen
        self._first: tuple[int, float, float | None] | None = None
        self._shape: tuple[Any, ...] | None = None
        self._open: dict[int, OpenVolume] = {}
        self.ignored = 0

    def wanted(self, name: str) -> bool:
        """Whether a name can be that of an image."""
        return not name.lower().endswith(_OTHER_FILES)

    def order(self, folder: Path, names: list[str]) -> Iterator[list[str] | None]:
        """Choose the series and sort its files by volume and image."""
        keys: dict[str, tuple[int, int]] = {}
        uids: dict[str, str] = {}
        newest: tuple[int, str] | None = None
        for number, name in enumerate(names):
            if number % _STEP == 0:
                yield None
            header, when = self._glance(folder / name)
            if header is None:
                continue
            uids[name] = header.series
            keys[name] = (header.volume_index or 0, header.instance or 0)
            changed = (when, header.series)
            if self._admits(header) and (newest is None or changed > newest):
                newest = changed
        if self._series == NEW:
            self.ignored += len(uids)
            yield [name for name in names if name not in uids]
            return
        if newest is not None:
            self._uid = newest[1]
        chosen = [name for name in uids if uids[name] == self._uid]
        self.ignored += len(uids) - len(chosen)
        # those that are not complete come last: they are the newest
        rest = [name for name in names if name not in uids]
        yield sorted(chosen, key=lambda name: keys[name]) + rest

    def _glance(self, path: Path) -> tuple[Header | None, int]:
        """Return the header of a complete image, and the time of its last change."""
        try:
            found = read_header(file_bytes(path))
            when = os.stat(path).st_mtime_ns
        except (OSError, VolumeError):
            return None, 0
        return (found if isinstance(found, Header) else None), when

    def _admits(self, header: Header) -> bool:
        """Whether the argument `series` allows a series."""
        if self._series is None or self._series == NEW:
            return True
        return self._series in (header.series_number, header.series)

    def read(self, path: Path, now: float) -> list[Item] | Unfinished:
        """Return the volume that a file completes, if it does."""
        data = file_bytes(path)
        try:
            header = read_header(data)
        except VolumeError as error:
            # a header that is not all there may look like any damage
            return Unfinished(len(data) + 1, f"A file that is not readable arrived: {error}")
        if header is None:
            self.ignored += 1
            return []
        if isinstance(header, Incomplete):
            reason = f"A file ends after {len(data)} of at least {header.needed} bytes."
            return Unfinished(header.needed, reason, header.index)
        if self._uid is None and self._admits(header):
            self._uid = header.series
        if header.series != self._uid:
            self.ignored += 1
            return []
        return self._decode(header, data, now)

    def _decode(self, header: Header, data: bytes, now: float) -> list[Item]:
        index = None
        try:
            index = header.volume_index
            if header.kind != "slice":
                return [self._volume(whole_volume(header, data), header, now)]
            part = read_slice(header, data, self._slices)
            index = part.index
            return self._slice(part, now)
        except VolumeError as error:
            return [BadVolume(index if index is None or index >= 0 else None, str(error), now)]

    def _slice(self, part: Slice, now: float) -> list[Item]:
        volume = self._open.setdefault(part.index, OpenVolume(now))
        result: list[Item] = []
        if volume.add(part, now):
            del self._open[part.index]
            data, affine = volume.stack()
            times = [
                t for t in (p.header.acquired for p in volume.slices.values()) if t is not None
            ]
            tr_s = plausible_tr(part.header.tr_s)
            image = Image(part.index, data, affine, tr_s, min(times, default=None))
            result.append(self._volume(image, part.header, now))
        while len(self._open) > _MOST_OPEN:
            oldest = min(self._open, key=lambda index: self._open[index].since)
            result.append(self._abandoned(oldest, now))
        return result

    def _abandoned(self, index: int, now: float) -> BadVolume:
        volume = self._open.pop(index)
        parts = list(volume.slices.values())
        return BadVolume(
            index, f"{len(parts)} of {parts[0].expected} slices of a volume arrived.", now
        )

    def _volume(self, image: Image, header: Header, now: float) -> Item:
        shape = (image.data.shape, image.data.dtype, header.echo_ms)
        self._shape = self._shape or shape
        if shape != self._shape:
            return BadVolume(
                image.index,
                f"A volume has shape {image.data.shape}, type {image.data.dtype} and echo time "
                f"{header.echo_ms} ms; the first one had {self._shape[0]}, {self._shape[1]} and "
                f"{self._shape[2]} ms.",
                now,
            )
        return as_volume(image, self._seconds(image), now)

    def _seconds(self, image: Image) -> float | None:
        """Return the time since the first volume, by the times of day that headers state."""
        if image.acquired is None:
            return None
        if self._first is None:
            # of a run that is joined late, the beginning follows from the repetition time
            if image.index and image.tr_s is None:
                return None
            self._first = (image.index, image.acquired, image.tr_s)
        index, acquired, tr_s = self._first
        passed = (image.acquired - acquired) % _DAY_S
        # before the first that was seen
        passed = passed - _DAY_S if passed > _DAY_S / 2 else passed
        if image.index != index and passed == 0:
            return None  # some scanners write the time of the series into every image
        return passed + index * (tr_s or 0.0)

    def overdue(self, before: float | None, index: int | None, now: float) -> list[BadVolume]:
        """Give up volumes of which slices are missing."""
        late = [
            number
            for number, volume in self._open.items()
            if (before is not None and volume.since <= before)
            or (index is not None and number < index)
        ]
        return [self._abandoned(number, now) for number in sorted(late)]

    def close(self) -> None:
        """Drop slices of volumes that are not complete."""
        self._open.clear()
