"""Damage to files, as a bad disk or a torn copy leaves it."""

from __future__ import annotations

from pathlib import Path


def flip_last_bit(path: Path) -> None:
    """Change one bit of the last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
