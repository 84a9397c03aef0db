"""Thousands of damaged images: each is refused with a reason or read in full, nothing else."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastbrain.data import load_volumes, read_mask
from fastbrain.errors import FastbrainError

CAP = 1 << 22
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
# float32 NaN and infinity, the largest and smallest int16, zero
EXTREMES = (b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\x7f\xff\x7f", b"\0\x80\0\x80", b"\0" * 4)


def saved(kind: type, data: np.ndarray, dtype: str, path: Path) -> bytes:
    image = kind(data, AFFINE)
    image.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm", "sec")
    if data.ndim == 4:
        image.header["pixdim"][4] = 2.0
    image.set_qform(image.affine, 1)
    nib.save(image, path)
    return path.read_bytes()


def runs(folder: Path) -> dict[str, bytes]:
    data = np.arange(6 * 4 * 5 * 7, dtype=np.int16).reshape(6, 4, 5, 7)
    one, two = nib.Nifti1Image, nib.Nifti2Image
    return {
        "nifti1": saved(one, data, "i2", folder / "a.nii"),
        "nifti2": saved(two, data, "i2", folder / "b.nii"),
        "float": saved(one, data.astype(np.float32), "f4", folder / "c.nii"),
    }


def masks(folder: Path) -> dict[str, bytes]:
    mask = np.random.default_rng(0).random((6, 4, 5)) < 0.5
    one = nib.Nifti1Image
    return {
        "bytes": saved(one, mask.astype(np.uint8), "u1", folder / "a.nii"),
        # nibabel scales what is saved from floats
        "scaled": saved(one, mask.astype(np.float64), "i2", folder / "b.nii"),
        "axes": saved(one, mask.astype(np.float32)[..., None], "f4", folder / "c.nii"),
    }


def mutate(data: bytes, header: int, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    match rng.integers(5):
        case 0:
            for _ in range(rng.integers(1, 9)):
                changed[rng.integers(header)] ^= 1 << int(rng.integers(8))
        case 1:
            at = int(rng.integers(header))
            changed[at : at + 4] = rng.bytes(4)
        case 2:
            at = int(rng.integers(header // 2)) * 2
            changed[at : at + 4] = EXTREMES[rng.integers(len(EXTREMES))]
        case 3:
            changed = changed[: rng.integers(len(changed))]
        case _:
            at = int(rng.integers(len(changed)))
            changed[at] ^= 255
    return bytes(changed)


def refused(call: Callable[[], object]) -> FastbrainError | None:
    """The error where `call` refuses its image; any other error propagates, and warnings do."""
    try:
        with warnings.catch_warnings():
            # a value that overflows when scaled is the run's business, checked in preparation
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "(overflow|invalid value)", RuntimeWarning)
            call()
    except FastbrainError as error:
        return error
    return None


def read_run(path: Path) -> None:
    volumes = load_volumes(path, max_bytes=CAP)
    raw = volumes.raw()
    assert raw.shape == volumes.shape
    assert raw.nbytes <= CAP
    assert np.isfinite(volumes.affine).all()
    assert 0.1 <= volumes.tr <= 30
    assert volumes.scaled(0, 1).dtype == np.float32


def read_volume(path: Path) -> None:
    mask = read_mask(path, shape=(5, 4, 6), affine=AFFINE)
    assert mask.shape == (5, 4, 6)
    assert mask.dtype == bool
    assert mask.any()


def try_all(
    path: Path, change: Callable[[], bytes], read: Callable[[Path], None], count: int, budget
) -> int:
    """Number of damaged files that are read; all others are refused by name."""
    accepted = 0
    for case in range(count):
        path.write_bytes(change())
        with budget.one():
            error = refused(lambda: read(path))
        assert error is None or path.name.split(".")[0] in str(error), (case, error)
        accepted += error is None
    return accepted


@pytest.mark.parametrize("packing", ["plain", "inside gzip", "gzip itself"])
@pytest.mark.parametrize("kind", ["nifti1", "nifti2", "float"])
def test_damaged_runs(tmp_path: Path, budget, kind: str, packing: str) -> None:
    rng = np.random.default_rng([len(kind), len(packing), 20])
    data = runs(tmp_path)[kind]
    header = 540 if kind == "nifti2" else 348
    packed = gzip.compress(data, 1)
    change = {
        "plain": lambda: mutate(data, header, rng),
        "inside gzip": lambda: gzip.compress(mutate(data, header, rng), 1),
        "gzip itself": lambda: mutate(packed, len(packed), rng),
    }[packing]
    path = tmp_path / ("bold.nii" if packing == "plain" else "bold.nii.gz")
    count = budget.inputs(f"image: {packing}", tests=3)
    accepted = try_all(path, change, read_run, count, budget)
    # many single bits change nothing that matters: refusing everything would be wrong too
    if packing == "plain":
        assert accepted > count // 10


@pytest.mark.parametrize("packing", ["plain", "inside gzip"])
@pytest.mark.parametrize("kind", ["bytes", "scaled", "axes"])
def test_damaged_masks(tmp_path: Path, budget, kind: str, packing: str) -> None:
    rng = np.random.default_rng([len(kind), len(packing), 21])
    data = masks(tmp_path)[kind]
    change = {
        "plain": lambda: mutate(data, 348, rng),
        "inside gzip": lambda: gzip.compress(mutate(data, 348, rng), 1),
    }[packing]
    path = tmp_path / ("mask.nii" if packing == "plain" else "mask.nii.gz")
    count = budget.inputs(f"mask: {packing}", tests=3)
    assert count // 10 < try_all(path, change, read_volume, count, budget) < count


@pytest.mark.parametrize("damaged", ["bold.hdr", "bold.img"])
def test_damaged_pairs(tmp_path: Path, budget, damaged: str) -> None:
    rng = np.random.default_rng([len(damaged), 22])
    data = np.arange(6 * 4 * 5 * 7, dtype=np.int16).reshape(6, 4, 5, 7)
    saved(nib.Nifti1Pair, data, "i2", tmp_path / "bold.hdr")
    path = tmp_path / damaged
    whole = path.read_bytes()
    header = 348 if damaged == "bold.hdr" else len(whole)
    count = budget.inputs("image: pair", tests=2)
    assert try_all(path, lambda: mutate(whole, header, rng), read_run, count, budget) < count
