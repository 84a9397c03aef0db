"""No half-written file is ever read as a volume, however it is written.

``FASTBRAIN_HALF_WRITTEN`` is the number of files; 10,000 take a minute and a half.
"""

from __future__ import annotations

import gzip
import os
import threading
import time

import make_dicom
import nibabel as nib
import numpy as np
import pytest

from fastbrain.realtime import Volume, open_source

FILES = int(os.environ.get("FASTBRAIN_HALF_WRITTEN", 500))
CHUNKS = 8
WRITERS = 4
KINDS = {"mosaic": 0.4, "enhanced": 0.1, "slices": 0.1, "nii": 0.2, "nii.gz": 0.2}


def files_of(kind: str, index: int) -> dict[str, bytes]:
    """Files of one volume, with values that tell it from every other one."""
    data = values(index)
    if kind == "mosaic":
        return {f"m{index}.dcm": make_dicom.mosaic(data, index)}
    if kind == "enhanced":
        return {f"e{index}.dcm": make_dicom.enhanced(data, index)}
    if kind == "slices":
        return {f"s{index}_{n}": d for n, d in enumerate(make_dicom.slices(data, index))}
    whole = nib.Nifti1Image(data.transpose(2, 1, 0), np.diag([2.0, 2, 3, 1])).to_bytes()
    return {f"n{index}.{kind}": gzip.compress(whole, 1) if kind == "nii.gz" else whole}


def values(index: int) -> np.ndarray:
    return make_dicom.voxels((4, 5, 6), seed=index, dtype=np.int16)


def write(folder, name: str, data: bytes) -> None:
    """Write a file in pieces, each of which a reader can see."""
    with open(folder / name, "wb", buffering=0) as file:
        for part in range(CHUNKS):
            file.write(data[len(data) * part // CHUNKS : len(data) * (part + 1) // CHUNKS])
            time.sleep(0)  # others may run


@pytest.mark.parametrize("kind", KINDS)
def test_files_in_eight_pieces(tmp_path, kind):
    count = max(1, int(FILES * KINDS[kind]))
    written = [files_of(kind, index) for index in range(count)]
    source = open_source(
        f"{'nifti' if kind.startswith('nii') else 'dicom'}:{tmp_path}",
        patience_s=60.0,
        **({"first": 0} if kind.startswith("nii") else {}),
    )

    def writer(first: int) -> None:
        for index in range(first, count, WRITERS):
            for name, data in written[index].items():
                write(tmp_path, name, data)

    threads = [threading.Thread(target=writer, args=(first,)) for first in range(WRITERS)]
    for thread in threads:
        thread.start()
    seen: dict[int, int] = {}
    quiet_since = time.monotonic()
    for item in source:
        if item is None:
            # all are read long before, unless one is lost
            if time.monotonic() - quiet_since > 20:
                break
            continue
        quiet_since = time.monotonic()
        assert isinstance(item, Volume), item
        np.testing.assert_array_equal(item.data, values(item.index))
        seen[item.index] = seen.get(item.index, 0) + 1
        if len(seen) == count:
            break
    for thread in threads:
        thread.join()
    source.close()
    assert seen == dict.fromkeys(range(count), 1)
