"""Write the windows of a store, with their texts, in the format of another loader.

fastbrain store export store --webdataset shards

fastbrain store export store --hf dataset

fastbrain store export store --mds streams

Windows are the stored integers, (F, n_tokens, P) int16; grid, scale, mean and spread lie beside
them. The digests of the store are compared first; those of the exported files are the reader's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._progress import say
from ..data import VoxelStore
from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of ``fastbrain store export``."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`."""
    webdataset: Path | None = None
    """New folder for tar files of WebDataset."""
    hf: Path | None = None
    """New folder for a DatasetDict of Hugging Face datasets."""
    mds: Path | None = None
    """New folder for shards of MosaicML Streaming."""
    shard_mb: int = 256
    """Size of a tar file or shard, MB."""


def run(config: Config) -> None:
    """Write one of the formats."""
    from ..integrations import store_exports

    chosen = {k: v for k in store_exports.FORMATS if (v := getattr(config, k)) is not None}
    if len(chosen) != 1:
        raise ConfigError(
            f"export: one of --webdataset, --hf and --mds must be given, got {len(chosen)}. Name a "
            "new folder behind it."
        )
    store = VoxelStore.open(config.store)
    ((kind, out),) = chosen.items()
    counts = store_exports.export_store(store, out, kind, shard_bytes=config.shard_mb * 10**6)
    for part, count in counts.items():
        print(f"{part:<6} {count} windows")
    say(f"written to {out}")
