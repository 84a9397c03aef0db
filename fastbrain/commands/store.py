"""Show what a store holds and how it was made, on one page.

fastbrain store info store

fastbrain store info store --json

The other tools: `fastbrain store verify` compares every byte with its digests, `store merge` joins
stores, `store append` adds new subjects, `store export` writes the windows for other loaders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..data import VoxelStore, store_facts


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain store info``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`: a folder, or the URL of one."""
    json: bool = False
    """Print JSON."""


def run(config: Config) -> None:
    """Print the facts."""
    facts = store_facts(VoxelStore.open(config.store))
    if config.json:
        print(json.dumps(facts, indent=2))
        return
    width = max(len(name) for section in facts.values() for name in section)
    for title, section in facts.items():
        print(title)
        for name, value in section.items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"  {name.replace('_', ' '):<{width}}  {'-' if shown in (None, '') else shown}")
