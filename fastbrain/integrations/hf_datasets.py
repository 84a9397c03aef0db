"""Windows as a dataset of Hugging Face datasets, for ``datasets.load_from_disk``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import MissingPartError
from .store_samples import Sample

_NUMBERS = ("start", "frames")


def write_dataset(root: Path, part: str, samples: Iterator[Sample], shard_bytes: int) -> int:
    """Write the dataset ``PART``; return the number of samples."""
    try:
        import datasets
    except ImportError as error:
        raise MissingPartError(
            "export_store: datasets must be installed for kind 'hf', got none. "
            "pip install 'fastbrain-fmri[hf]'"
        ) from error
    first = next(samples)
    features = datasets.Features(
        {
            "voxels": datasets.Array3D(first.voxels.shape, "int16"),
            "text": datasets.Value("string"),
            **{
                name: datasets.Value("int64" if name in _NUMBERS else "string")
                for name in first.facts
            },
        }
    )
    count = 0
    with tempfile.TemporaryDirectory(dir=root) as folder:
        # written row by row: a generator's dataset would be cached by the digest of the store
        path = Path(folder) / "rows.arrow"
        with datasets.arrow_writer.ArrowWriter(features=features, path=str(path)) as writer:
            for sample in _with_first(first, samples):
                writer.write(_row(sample))
                count += 1
            writer.finalize()
        made = datasets.Dataset.from_file(str(path))
        made.save_to_disk(str(root / part), max_shard_size=shard_bytes)
        del made
    return count


def _with_first(first: Sample, rest: Iterator[Sample]) -> Iterator[Sample]:
    yield first
    yield from rest


def _row(sample: Sample) -> dict[str, Any]:
    return {"voxels": sample.voxels, "text": sample.text, **sample.facts}
