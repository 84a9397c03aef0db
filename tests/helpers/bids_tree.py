"""A tree of files that hold one text: for readers that look at names alone."""

from __future__ import annotations

from pathlib import Path


def tree(root: Path, *names: str, text: str = "x") -> Path:
    """Write files below a folder, which is returned."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
