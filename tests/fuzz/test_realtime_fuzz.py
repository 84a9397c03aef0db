"""Damaged files of scanners: each is refused with a reason or read in full, nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path

import make_dicom
import numpy as np
import pytest
from fake_clock import FakeClock

from fastbrain.errors import FastbrainError
from fastbrain.realtime import BadVolume, Volume, open_source, read_dicom

SHAPE = (5, 6, 7)


def whole(kind: str) -> bytes:
    data = make_dicom.voxels(SHAPE)
    if kind == "slice":
        return make_dicom.slices(data)[2]
    return getattr(make_dicom, kind)(data)


def outcome(path: Path) -> Volume | str:
    """The volume in a file, or why it is refused; nothing of a file may be said in a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return read_dicom(path)
        except FastbrainError as error:
            return str(error)


@pytest.mark.parametrize("kind", ["mosaic", "enhanced", "slice"])
def test_damaged_dicom(tmp_path: Path, budget, mutate, kind: str) -> None:
    rng = np.random.default_rng([len(kind), 24])
    data, path = whole(kind), tmp_path / "a.dcm"
    header = data.index(b"\xe0\x7f\x10\x00OW") + 12
    count, accepted = budget.inputs("dicom", tests=3), 0
    for case in range(count):
        part = mutate(data[:header], rng) + data[header:]
        path.write_bytes(data[: rng.integers(len(data))] if case % 10 == 0 else part)
        with budget.one():
            answer = outcome(path)
        if isinstance(answer, str):
            assert path.name in answer
            assert make_dicom.PATIENT not in answer
            continue
        accepted += 1
        assert isinstance(answer, Volume)
        assert np.isfinite(answer.data).all()
    assert count // 20 < accepted < count


def test_damaged_files_of_a_folder(tmp_path: Path, budget, mutate) -> None:
    rng, clock = np.random.default_rng(25), FakeClock()
    data = [whole(kind) for kind in ("mosaic", "enhanced", "slice")]
    source = open_source(f"dicom:{tmp_path}", clock=clock, patience_s=0.05)
    items, found, count = iter(source), 0, budget.inputs("dicom", tests=3) // 3
    for case in range(count):
        path = tmp_path / f"{case}.dcm"
        path.write_bytes(mutate(data[case % 3], rng))
        with budget.one():
            while (item := next(items)) is not None:
                assert isinstance(item, (Volume, BadVolume))
                found += 1
        path.unlink()
    source.close()
    assert found > 0
