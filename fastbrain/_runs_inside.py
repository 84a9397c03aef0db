"""Find the runs in a folder that is named in place of one of them."""

from __future__ import annotations

from pathlib import Path

from ._io import read_json
from .errors import CohortError


def runs_inside(folder: str | Path) -> list[Path]:
    """List the finished runs in a folder and in its folders, such as ``fold-00/run``."""
    found: dict[Path, Path] = {}
    for inner in sorted(Path(folder).glob("*/")):
        runs = [inner] if _is_run(inner) else [p for p in sorted(inner.glob("*/")) if _is_run(p)]
        for run in runs:
            # a link may lead to a run that is there already
            found.setdefault(run.resolve(), run)
    return [*found.values()]


def _is_run(folder: Path) -> bool:
    if not (folder / "manifest.json").is_file():
        return False
    try:
        found = read_json(folder / "manifest.json")
    except CohortError:
        return False
    # manifests of LLM4Brain by earlier versions have no kind
    return isinstance(found, dict) and ("kind" in found or "store_fingerprint" in found)
