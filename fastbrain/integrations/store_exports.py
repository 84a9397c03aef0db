"""Export the windows of a store to the formats of other loaders.

Every format holds the same samples: the stored integers of a window, its text and what the trial
is. What a model needs beside them is in the folder: ``grid.npz``, ``mean.npy``, ``inv_std.npy``,
``split.json``, and in ``store.json`` the scale, the units and the fingerprint of the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from .._arguments import checked
from .._environment import check_environment
from .._io import folder_atomic, write_json
from ..data import VoxelStore
from ..data.splits.split import PARTS
from ..errors import InputError
from .store_samples import Sample, samples

Format = Literal["webdataset", "hf", "mds"]
FORMATS: tuple[Format, ...] = get_args(Format)
_SMALL = ("grid.npz", "mean.npy", "inv_std.npy", "split.json")
_LEAST_SHARD = 10**6


Writer = Callable[[Path, str, Iterator[Sample], int], int]


@checked
def export_store(
    store: VoxelStore,
    out: str | Path,
    kind: Format,
    *,
    shard_bytes: int = 256 * 10**6,
) -> dict[str, int]:
    """Write the windows of all parts of a store into a new folder.

    Parameters
    ----------
    store : VoxelStore
    out : str or Path
        New folder; it is complete or does not exist.
    kind : {"webdataset", "hf", "mds"}
        ``PART-000000.tar`` with ``KEY.voxels.npy``, ``KEY.txt`` and ``KEY.json`` for WebDataset; a
        ``DatasetDict`` for ``datasets.load_from_disk``; a folder a part for MosaicML Streaming.
    shard_bytes : int
        Size after which a new tar file or shard begins.

    Returns
    -------
    dict of str to int
        Windows by part.

    Raises
    ------
    InputError
        The format is not known, or the shards would be smaller than 1 MB.
    MissingPartError
        ``"hf"`` needs the extra ``hf``.
    StoreError
        A run is damaged.
    OutputExistsError, DiskError
        `out` exists or cannot be written.
    """
    if kind not in FORMATS or shard_bytes < _LEAST_SHARD:
        raise InputError(
            f"export_store: kind must be one of {FORMATS} and shard_bytes at least {_LEAST_SHARD}, "
            f"got {kind!r} and {shard_bytes}."
        )
    parts = {part: store.split.part(part) for part in PARTS if store.split.part(part)}
    size = 2 * store.window_spec.window_trs * store.grid.n_tokens * store.grid.patch_voxels
    needed = size * sum(map(len, parts.values()))
    check_environment(Path(out).absolute().parent, needed_bytes=needed, function="export_store")
    write = _writer(kind)
    counts: dict[str, int] = {}
    with folder_atomic(out, function="export_store") as root:
        for part in parts:
            counts[part] = write(root, part, samples(store, part), shard_bytes)
        for name in _SMALL:
            shutil.copyfile(store.path / name, root / name)
        write_json(root / "store.json", _facts(store, counts))
        if kind == "hf":
            write_json(root / "dataset_dict.json", {"splits": list(counts)})
    return counts


def _writer(kind: Format) -> Writer:
    if kind == "webdataset":
        from .webdataset_tar import write_tars

        return write_tars
    if kind == "mds":
        from .mds_shards import write_shards

        return write_shards
    from .hf_datasets import write_dataset

    return write_dataset


def _facts(store: VoxelStore, counts: dict[str, int]) -> dict[str, Any]:
    info = store.info
    return {
        "fingerprint": store.fingerprint(),
        "fastbrain": info.fastbrain,
        "tr": info.tr,
        "window": info.window,
        "units": info.units,
        "scale": info.scale,
        "high_pass_s": info.high_pass_s,
        "sample": [store.window_spec.window_trs, store.grid.n_tokens, store.grid.patch_voxels],
        "windows": counts,
    }
