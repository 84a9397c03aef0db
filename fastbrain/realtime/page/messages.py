"""Messages to the page: the named fields of events as JSON that every browser reads.

Only the fields listed here leave the process, whatever else an event holds. Values are plain: texts
are clipped, numbers that JSON cannot hold become null.
"""

from __future__ import annotations

import base64
import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_CONTROL = ("confidence", "margin_no_brain", "ranked")
FIELDS: dict[str, tuple[str, ...]] = {
    "volume": ("at_s", "index", "motion", "fd_mm", "tsnr", "spike", "held"),
    "word": ("at_s", "index", "text", "latency_s"),
    "text": ("at_s", "index", "text", "latency_s", "first_word_s", "missed", *_CONTROL),
    "control": ("at_s", "index", *_CONTROL),
    "record": ("at_s", "index", "status", "reason", "text", "text_of", "missed", "backlog"),
    "latency": ("at_s", "index", "deadline_s", "first_word_s", "text_s", "stages_s"),
    "mark": ("at_s", "index", "label"),
    "state": (
        *("at_s", "state", "reason", "tr_s", "deadline_s", "silence_s", "counters", "source"),
        "monitor",
    ),
}
SLICES = ("axial", "coronal", "sagittal")
_LONGEST_TEXT = 4000  # characters
_LONGEST_LIST = 64
_LARGEST_SLICE = 256  # pixels of a side


@dataclass(frozen=True)
class Message:
    """One message to a browser.

    Parameters
    ----------
    kind : str
        Type of the event, or ``"slices"`` for the pictures of a volume.
    body : str
        JSON on one line.
    notable : bool
        Whether the log of the page lists it: a mark, or a record that is not ``"ok"``.
    """

    kind: str
    body: str
    notable: bool = False


def messages_of(event: Mapping[str, Any]) -> list[Message]:
    """Make the messages of one event; none for a type that the page does not show.

    Parameters
    ----------
    event : mapping
        See :mod:`fastbrain.realtime.session.events`.
    """
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        return []
    chosen = {name: _plain(event[name]) for name in FIELDS[kind] if name in event}
    notable = kind == "mark" or (kind == "record" and event.get("status") != "ok")
    made = [Message(kind, _json({"type": kind, **chosen}), notable)]
    pictures = _slices(event.get("preview")) if kind == "volume" else {}
    if pictures:
        index = _plain(event.get("index"))
        made.append(Message("slices", _json({"type": "slices", "index": index, **pictures})))
    return made


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        short = value if len(value) <= _LONGEST_TEXT else value[: _LONGEST_TEXT - 1] + "…"
        return short.encode("utf-8", "replace").decode()  # lone surrogates have no UTF-8
    if value is None or isinstance(value, (bool, np.bool_)):
        return None if value is None else bool(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_LONGEST_LIST]
        return {str(_plain(str(name))): _plain(one) for name, one in pairs}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value[:_LONGEST_LIST]]
    return None


def _slices(preview: Any) -> dict[str, Any]:
    """Describe the three slices; empty where they are not what a preview has."""
    if not isinstance(preview, Mapping):
        return {}
    found = {}
    for name in SLICES:
        picture = preview.get(name)
        if (
            not isinstance(picture, np.ndarray)
            or picture.dtype != np.uint8
            or picture.ndim != 2
            or not 0 < min(picture.shape)
            or max(picture.shape) > _LARGEST_SLICE
        ):
            return {}
        height, width = picture.shape
        pixels = base64.b64encode(picture.tobytes()).decode()
        found[name] = {"width": width, "height": height, "pixels": pixels}
    return found
