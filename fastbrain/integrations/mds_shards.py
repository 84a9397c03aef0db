"""Windows as shards of MosaicML Streaming (MDS, version 2).

The shards are written here because the package mosaicml-streaming 0.13 needs transformers below 5
and NumPy below 2.2, so that it cannot be installed beside this one. Its ``LocalDataset`` and
``StreamingDataset`` read them in an environment of their own.

A shard is the number of samples N (uint32), N + 1 offsets (uint32) from its start, a JSON header,
and the samples: the lengths of the columns of variable length (uint32), then all columns in the
order of their names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._io import write_atomic, write_json
from .store_samples import Sample

_LARGEST = 2**32 - 1  # offsets are uint32


def write_shards(root: Path, part: str, samples: Iterator[Sample], shard_bytes: int) -> int:
    """Write ``PART/shard.00000.mds`` and so on with their index; return the number of samples."""
    limit = min(shard_bytes, _LARGEST)
    folder, count = root / part, 0
    shards: list[dict[str, Any]] = []
    header: dict[str, Any] = {}
    waiting: list[bytes] = []
    for sample in samples:
        header = header or _header(sample, limit)
        encoded = _encoded(sample)
        # the size that the shard would have
        size = sum(map(len, waiting)) + len(encoded) + 4 * (len(waiting) + 3) + len(_json(header))
        if waiting and size > limit:
            shards.append(_write_shard(folder, len(shards), header, waiting))
            waiting = []
        waiting.append(encoded)
        count += 1
    if waiting:
        shards.append(_write_shard(folder, len(shards), header, waiting))
    write_json(folder / "index.json", {"version": 2, "shards": shards})
    return count


def _header(sample: Sample, limit: int) -> dict[str, Any]:
    shape = ",".join(map(str, sample.voxels.shape))
    columns = {"facts": ("json", None), "text": ("str", None)}
    columns["voxels"] = (f"ndarray:int16:{shape}", sample.voxels.nbytes)  # type: ignore[assignment]
    return {
        "column_encodings": [encoding for encoding, _ in columns.values()],
        "column_names": list(columns),
        "column_sizes": [size for _, size in columns.values()],
        "compression": None,
        "format": "mds",
        "hashes": ["sha256"],
        "size_limit": limit,
        "version": 2,
    }


def _encoded(sample: Sample) -> bytes:
    varying = (json.dumps(sample.facts).encode(), sample.text.encode())
    lengths = np.array([len(data) for data in varying], dtype="<u4").tobytes()
    return b"".join([lengths, *varying, sample.voxels.astype("<i2", copy=False).tobytes()])


def _json(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True).encode()


def _write_shard(
    folder: Path, number: int, header: dict[str, Any], samples: Sequence[bytes]
) -> dict[str, Any]:
    text = _json(header)
    offsets = np.cumsum([4 + 4 * (len(samples) + 1) + len(text), *map(len, samples)])
    head = np.uint32(len(samples)).astype("<u4").tobytes() + offsets.astype("<u4").tobytes() + text
    data = b"".join([head, *samples])
    name = f"shard.{number:05d}.mds"
    write_atomic(folder / name, data)
    raw = {
        "basename": name,
        "bytes": len(data),
        "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
    }
    return {**header, "raw_data": raw, "samples": len(samples), "zip_data": None}
