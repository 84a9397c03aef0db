"""Windows as tar files of WebDataset; written by the standard library, so that no extra is needed.

Equal stores give equal bytes: members have no time and no owner.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .store_samples import Sample


def write_tars(root: Path, part: str, samples: Iterator[Sample], shard_bytes: int) -> int:
    """Write ``PART-000000.tar`` and so on; return the number of samples."""
    count, shard = 0, 0
    tar: tarfile.TarFile | None = None
    try:
        for sample in samples:
            if tar is None:
                tar = tarfile.open(root / f"{part}-{shard:06d}.tar", "w", format=tarfile.PAX_FORMAT)
            voxels = io.BytesIO()
            np.save(voxels, np.ascontiguousarray(sample.voxels), allow_pickle=False)
            # a key of its own: WebDataset splits names at the first dot, and trial ids may have one
            key = f"{part}-{count:09d}"
            for suffix, data in (
                ("voxels.npy", voxels.getvalue()),
                ("txt", sample.text.encode()),
                ("json", json.dumps(sample.facts, ensure_ascii=False).encode()),
            ):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            count += 1
            if tar.offset >= shard_bytes:
                tar.close()
                tar, shard = None, shard + 1
    finally:
        if tar is not None:
            tar.close()
    return count
