"""Last steps of a store: files of its statistics, facts about its runs, and digests of all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..._arrays import npy_bytes
from ..._io import sha256, write_atomic
from ...grid import TokenGrid
from .convert import read_mean_image
from .manifest import SMALL_FILES
from .statistics import Statistics
from .window_limits import correlation

_ONLY_IN_RECORDS = ("inputs", "sha256", "mean_image", "traces")


def write_statistics(
    root: Path, found: Statistics, results: Mapping[str, Mapping[str, Any]], grid: TokenGrid
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Write the statistics of a store; all its other files but the manifest must be there.

    Parameters
    ----------
    root : Path
    found : Statistics
    results : mapping
        By run id: what :func:`convert_run` returned.
    grid : TokenGrid

    Returns
    -------
    runs : dict
        Entry `runs` of the manifest.
    files : dict
        Its entry `files`.
    """
    for name in ("mean", "inv_std", "mean_image"):
        write_atomic(root / f"{name}.npy", npy_bytes(getattr(found, name)))
    alive = found.inv_std > 0
    runs = {}
    for name, result in results.items():
        image = read_mean_image(root, name, grid)
        shared = correlation(image[alive], found.mean_image[alive])
        facts = {key: value for key, value in result.items() if key not in _ONLY_IN_RECORDS}
        runs[name] = {**facts, "image_correlation": round(shared, 4)}
    files = {f"runs/{name}.npy": result["sha256"] for name, result in results.items()}
    return runs, files | {name: sha256(root / name) for name in SMALL_FILES}
