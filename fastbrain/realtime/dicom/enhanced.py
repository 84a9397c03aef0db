"""Enhanced multi-frame images: one frame a slice, one volume a file (PS3.3 C.7.6.16).

Siemens XA software exports functional runs in this form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .elements import Elements, parse_errors
from .geometry import Array, normal, slice_step, stack_affine
from .header import ORIENTATION, PER_FRAME, POSITION, SHARED, SPACING, THICKNESS, TR, Header
from .header import time_of_day as classic_time
from .pixels import rescale

_CONTENT, _FRAME_TIME = 0x00209111, 0x00189074
_STACK_POSITION, _TEMPORAL_POSITION = 0x00209057, 0x00209128
_PLANE_POSITION, _PLANE_ORIENTATION = 0x00209113, 0x00209116
_MEASURES, _VALUES, _TIMING = 0x00289110, 0x00289145, 0x00189112
_ROUNDED = 1e-5  # orientations of the frames of a stack may differ by this


@dataclass(frozen=True)
class Frames:
    """What the frames of one volume state.

    Parameters
    ----------
    order : ndarray, (Z,) int64
        Frames by their position in the stack.
    affine : ndarray, (4, 4) float64
    slopes : list of tuple of 2 float
        Slope and intercept of each slice, in the order of the stack.
    tr_s, acquired : float or None
        Repetition time, and time of day of the acquisition, seconds.
    """

    order: npt.NDArray[np.int64]
    affine: Array
    slopes: list[tuple[float, float]]
    tr_s: float | None
    acquired: float | None


def read_frames(header: Header) -> Frames:
    """Read position, scaling and time of the frames of one volume.

    Raises
    ------
    VolumeError
        The frames belong to several volumes, or are not one stack of even slices.
    """
    own = header.elements
    with parse_errors():
        shared = next(iter(own.items(SHARED)), None)
        frames = own.items(PER_FRAME)
    if len(frames) != header.frames:
        raise VolumeError(
            f"PerFrameFunctionalGroupsSequence (5200,9230) must hold {header.frames} items, got "
            f"{len(frames)}. Export the series again."
        )
    with parse_errors():
        places = [_group(frame, shared, _PLANE_POSITION).vector(POSITION, 3) for frame in frames]
        tilts = [
            _group(frame, shared, _PLANE_ORIENTATION).vector(ORIENTATION, 6) for frame in frames
        ]
        measures = _group(frames[0], shared, _MEASURES)
        spacing, thickness = measures.vector(SPACING, 2), measures.number(THICKNESS)
        contents = [_group(frame, shared, _CONTENT, needed=False) for frame in frames]
        slopes = [rescale(_group(frame, shared, _VALUES, needed=False)) for frame in frames]
        timing = _group(frames[0], shared, _TIMING, needed=False)
    orientation = tilts[0]
    if max(float(np.abs(tilt - orientation).max()) for tilt in tilts) > _ROUNDED:
        raise VolumeError("frames must be parallel. Export one stack a file.")
    _check_one_volume(contents)
    positions = np.array(places)
    order = _stack_order(contents, positions, orientation)
    step = slice_step(positions[order], orientation, thickness)
    times = [t for t in map(_frame_time, contents) if t is not None]
    return Frames(
        order=order,
        affine=stack_affine(positions[order[0]], step, orientation, spacing),
        slopes=[slopes[i] for i in order],
        tr_s=(_milliseconds(timing) or header.tr_s),
        acquired=min(times) if times else classic_time(own),
    )


def _group(frame: Elements, shared: Elements | None, tag: int, *, needed: bool = True) -> Elements:
    """Return a functional group of a frame; groups that all frames share are stored once."""
    for part in (frame, shared):
        items = [] if part is None else part.items(tag)
        if items:
            return items[0]
    if needed:
        raise VolumeError(
            f"the functional group ({tag >> 16:04X},{tag & 0xFFFF:04X}) must be there. Export the "
            "series without removing its geometry."
        )
    from pydicom.dataset import Dataset

    return Elements(Dataset(), frame.little)


def _check_one_volume(contents: list[Elements]) -> None:
    found = {content.binary(_TEMPORAL_POSITION, "I") for content in contents}
    if len(found) != 1:
        raise VolumeError(
            f"an enhanced image must hold 1 volume, got {len(found)} temporal positions. Let the "
            "scanner export one volume a file, or convert the run to NIfTI and replay it."
        )


def _stack_order(contents: list[Elements], positions: Array, orientation: Array) -> Any:
    stated = [content.binary(_STACK_POSITION, "I") for content in contents]
    if None in stated or len(set(stated)) != len(stated):
        along = positions @ normal(orientation)
        return np.argsort(along, kind="stable")
    return np.argsort(np.array(stated), kind="stable")


def _frame_time(content: Elements) -> float | None:
    text = content.text(_FRAME_TIME)
    if text is None or len(text) < 14 or not text[:14].isdigit():
        return None
    seconds = text[12:21].split("+")[0].split("-")[0]
    try:
        return int(text[8:10]) * 3600 + int(text[10:12]) * 60 + float(seconds)
    except ValueError:
        return None


def _milliseconds(timing: Elements) -> float | None:
    value = timing.number(TR)
    return value / 1000 if value else None
