"""Environment of a process in which Triton's kernels are interpreted on the CPU."""

from __future__ import annotations

import os
from pathlib import Path


def interpreted() -> dict[str, str]:
    """The environment of this process, and Triton's interpreter, quickened by ``interpreter/``."""
    first = Path(__file__).parent / "interpreter"
    paths = filter(None, (str(first), os.environ.get("PYTHONPATH")))
    return {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(paths)}
