"""What a voxel store says about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .._io import read_json
from ..errors import CohortError, InputError, StoreError
from .events import WindowSpec
from .highpass import DriftFilter

LAYOUT_VERSION = 1
MANIFEST = "manifest.json"
# what manifests of before may lack
_LATER = ("filter",)


@dataclass(frozen=True)
class Manifest:
    """What is in a store and how it came about; ``manifest.json``.

    Parameters
    ----------
    layout_version : int
    fastbrain : str
        Version that prepared the store.
    tr : float
        Seconds.
    window : dict
        Fields of :class:`WindowSpec`.
    units : str
        ``"psc"`` or ``"zscore"``.
    scale : float
        Units a stored step.
    high_pass_s : float or None
    shape, kernel, stride : list of int
        (z, y, x).
    n_tokens, patch_voxels : int
    grid : str
        Fingerprint of the token grid.
    root : str
        Folder of the cohort when it was prepared; clips are relative to it.
    fit : dict
        Runs and number of volumes behind mean and inv_std.
    runs : dict
        By run id: source, source_bytes, n_volumes, clipped, dead_voxels, notes.
    files : dict
        sha256 by file name.
    filter : dict
        How `high_pass_s` was chosen and what it removes of the training design: fields of
        :class:`fastbrain.data.DriftFilter`; empty where that was not recorded.
    """

    layout_version: int
    fastbrain: str
    tr: float
    window: dict[str, Any]
    units: str
    scale: float
    high_pass_s: float | None
    shape: list[int]
    kernel: list[int]
    stride: list[int]
    n_tokens: int
    patch_voxels: int
    grid: str
    root: str
    fit: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    files: dict[str, str]
    filter: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """Read and check ``manifest.json``; a :class:`StoreError` says what is wrong."""
        path = root / MANIFEST
        if not path.is_file():
            unfinished = (root / "prepare.json").is_file()
            raise StoreError(
                f"VoxelStore.open: {root} must hold a manifest, got "
                + ("an unfinished store. Pass --resume to finish it." if unfinished else "none.")
            )
        try:
            value = read_json(path)
        except CohortError as error:
            raise StoreError(f"VoxelStore.open: {error}") from error
        version = value.get("layout_version") if isinstance(value, dict) else None
        if version != LAYOUT_VERSION:
            raise StoreError(
                f"VoxelStore.open: {path} must have layout_version {LAYOUT_VERSION}, got "
                f"{version!r}. Prepare the store again with this version."
            )
        names = {f.name for f in fields(cls)}
        if not names - set(_LATER) <= set(value) <= names:
            odd = sorted(set(value) ^ names)
            raise StoreError(f"VoxelStore.open: {path} has unknown or missing keys {odd}.")
        for name, fits in _RULES.items():
            if name in value and not fits(value[name]):
                raise StoreError(
                    f"VoxelStore.open: {path} {name} is damaged, got {value[name]!r:.80}."
                )
        return cls(**value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_count(v) for v in value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _window(value: Any) -> bool:
    try:
        WindowSpec(**value)
    except (TypeError, InputError):
        return False
    return _count(value["window_trs"])


def _fit(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"runs", "n_volumes"}
        and isinstance(value["runs"], list)
        and all(_text(v) for v in value["runs"])
        and _count(value["n_volumes"])
    )


def _filter(value: Any) -> bool:
    try:
        return value == {} or bool(DriftFilter.from_json(value))
    except InputError:
        return False


def _runs(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _text(k) and isinstance(v, dict) and _count(v.get("n_volumes")) for k, v in value.items()
    )


def _files(value: Any) -> bool:
    return isinstance(value, dict) and all(_text(k) and _text(v) for k, v in value.items())


_RULES: dict[str, Callable[[Any], bool]] = {
    "fastbrain": _text,
    "tr": _number,
    "window": _window,
    "units": _text,
    "scale": _number,
    "high_pass_s": lambda value: value is None or _number(value),
    "shape": _triple,
    "kernel": _triple,
    "stride": _triple,
    "n_tokens": _count,
    "patch_voxels": _count,
    "grid": _text,
    "root": _text,
    "fit": _fit,
    "filter": _filter,
    "runs": _runs,
    "files": _files,
}
