"""Read every byte of a store, and name the files that are damaged; nothing is changed.

fastbrain store verify store
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._progress import say
from ..data import verify_store


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain store verify``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`."""
    json: bool = False
    """Print the damaged files as JSON."""


def run(config: Config) -> int:
    """Print the damaged files; return 1 if there are any."""
    damaged = verify_store(config.store)
    if config.json:
        print(json.dumps([asdict(damage) for damage in damaged], indent=2))
    else:
        for damage in damaged:
            print(f"{damage.file or config.store}: {damage.reason}")
    if not damaged:
        say(f"{config.store} is intact")
        return 0
    say(
        f"{len(damaged)} damaged. Copy them again from an intact store, or prepare the store again "
        "from its images."
    )
    return 1
