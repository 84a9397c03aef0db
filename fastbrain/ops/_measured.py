"""Choice between ways of computing the same result, by their times on the machine at hand.

Which of two ways is faster depends on the CPU, not only on the shape. The first large call of a
shape class runs each of them on its own arguments a few times; the faster one is used from then on.
The result is kept in the user's cache folder for each CPU model, instruction set, number of threads
and version of torch and fastbrain. Ways differ in rounding: ``FASTBRAIN_MEASURE`` fixes one.
"""

from __future__ import annotations

import functools
import os
import platform
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from .. import __version__, _native
from .._io import cache_folder, read_json, write_json
from ..errors import BackendError, FastbrainError

VARIABLE = "FASTBRAIN_MEASURE"
# all names of ways; an op that has not the requested one follows its rule
WAYS = ("stream", "products", "rounded", "tiles")
_FILE = "measured.json"
# At least 3 rounds, or 2 that took more than 0.3 s; short calls go on for 0.05 s, since a neighbour
# on the machine may slow one way for some milliseconds.
_ROUNDS, _MOST_ROUNDS = 3, 50
_ENOUGH_S, _LEAST_S = 0.3, 0.05
# another way must be faster by more than the noise of so few rounds
_GAIN = 0.95
_MOST_REMEMBERED = 1 << 10
_CPUS = Path("/proc/cpuinfo")

_lock = threading.Lock()
# machine -> key -> seconds of each way
_times: dict[str, dict[str, dict[str, float]]] = {}
_read = False
_trouble: str | None = None
# shape, threads and request -> way
_ways: dict[tuple[object, ...], str] = {}


@dataclass(frozen=True)
class Choice:
    """Name of a way, and why it was chosen; `measured` is false for a rule or a request."""

    way: str
    reason: str
    measured: bool = False


def choose(
    key: str, ways: Mapping[str, Callable[[], object]], rule: str, *, measure: bool = True
) -> Choice:
    """Choose a way for a shape class, and measure once if nothing is known of it.

    Parameters
    ----------
    key : str
        The op and the shape class.
    ways : mapping of str to callable
        Each computes the result for the arguments of the call at hand.
    rule : str
        The way that is used without measurements.
    measure : bool
        False: do not run any way; an unknown class then follows the rule.

    Raises
    ------
    BackendError
        ``FASTBRAIN_MEASURE`` is neither 0, 1 nor the name of a way.
    """
    wanted = os.environ.get(VARIABLE) or "1"
    if wanted in ways:
        return Choice(wanted, f"{VARIABLE}={wanted}")
    if wanted == "0":
        return Choice(rule, f"by rule, as {VARIABLE}=0")
    if wanted in WAYS:
        return Choice(rule, f"by rule, as this call has no way {wanted}")
    if wanted != "1":
        names = ", ".join(["0", "1", *dict.fromkeys([*WAYS, *ways])])
        raise BackendError(f"{VARIABLE}: the variable must be one of {names}, got {wanted!r}.")
    here = machine(torch.get_num_threads())
    with _lock:
        _load()
        seconds = _times.get(here, {}).get(key, {})
        if set(seconds) != set(ways):
            if not measure:
                return Choice(rule, "by rule, until the first such call measures")
            seconds = _measure(ways)
            _times.setdefault(here, {})[key] = seconds
            _save()
    best = min(seconds, key=seconds.__getitem__)
    way = best if seconds[best] < _GAIN * seconds[rule] else rule
    shown = ", ".join(f"{name} {value * 1e3:.3g} ms" for name, value in seconds.items())
    return Choice(way, f"measured here: {shown}", measured=True)


def remembered(shape: tuple[object, ...], find: Callable[[], Choice]) -> str:
    """Return the way for exactly this shape; `find` chooses it at the first call.

    For ops with calls so short that :func:`choose` would take a noticeable part of them.
    """
    known = (*shape, torch.get_num_threads(), _native.environment(VARIABLE))
    way = _ways.get(known)
    if way is None:
        if len(_ways) >= _MOST_REMEMBERED:
            _ways.clear()
        way = _ways[known] = find().way
    return way


def report() -> dict[str, Any]:
    """Return the file of the measurements, what is in it for this machine, and what is wrong."""
    with _lock:
        _load()
        known = {key: dict(times) for key, times in _times.get(_machine_now(), {}).items()}
    return {"file": _shown_file(), "trouble": _trouble, "seconds": known}


def forget() -> None:
    """Forget what this process knows; the next choice reads the file again."""
    global _read, _trouble
    with _lock:
        _times.clear()
        _ways.clear()
        _native.lora_forget()
        _read, _trouble = False, None


@functools.cache
def machine(threads: int) -> str:
    """Name what times depend on: CPU, instruction set, threads and versions."""
    return " | ".join(
        [
            _cpu_model(),
            _native.isa(),
            f"{threads} threads",
            f"torch {torch.__version__}",
            f"fastbrain {__version__}",
        ]
    )


def _machine_now() -> str:
    return machine(torch.get_num_threads())


def _cpu_model() -> str:
    """Name the CPU by model, family and stepping: a virtual machine may hide the model."""
    try:
        lines = _CPUS.read_text().split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    known = {name.strip(): value.strip() for name, value in fields.items()}
    names = ("model name", "cpu family", "model", "stepping")
    return " ".join(known[n] for n in names if n in known) or platform.machine()


def _measure(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the least time of each way over interleaved rounds."""
    best = dict.fromkeys(ways, float("inf"))
    begin = perf_counter()
    for done in range(1, _MOST_ROUNDS + 1):
        for name, way in ways.items():
            start = perf_counter()
            way()
            best[name] = min(best[name], perf_counter() - start)
        spent = perf_counter() - begin
        if spent > (_LEAST_S if done >= _ROUNDS else _ENOUGH_S) and done > 1:
            break
    return best


def _shown_file() -> str | None:
    try:
        return str(cache_folder() / _FILE)
    except FastbrainError:
        return None


def _load() -> None:
    """Read the file once; a damaged one is reported, not raised."""
    global _read, _trouble
    if _read:
        return
    _read = True
    try:
        path = cache_folder() / _FILE
        if path.exists():
            _times.update(_checked(read_json(path)))
    except (FastbrainError, OSError, ValueError) as error:
        _trouble = f"measurements are not read: {error}"


def _checked(found: Any) -> dict[str, dict[str, dict[str, float]]]:
    try:
        return {
            str(place): {
                str(key): {str(way): _positive(value) for way, value in times.items()}
                for key, times in classes.items()
            }
            for place, classes in found.items()
        }
    except AttributeError as error:
        raise ValueError(f"{_FILE} must map machines to classes to seconds") from error


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 3600:
        raise ValueError(f"{_FILE} must hold seconds, got {value!r}")
    return float(value)


def _save() -> None:
    """Add what is known to the file; what another process has added meanwhile stays."""
    global _trouble
    try:
        path = cache_folder() / _FILE
        kept = {}
        if path.exists() and _trouble is None:
            kept = _checked(read_json(path))
        for place, classes in _times.items():
            kept[place] = {**kept.get(place, {}), **classes}
        write_json(path, kept)
        _trouble = None
    except (FastbrainError, OSError, ValueError) as error:
        _trouble = f"measurements are not kept: {error}"
