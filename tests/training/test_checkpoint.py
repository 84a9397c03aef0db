"""Checkpoints: whole or refused, the last two kept, random numbers and all."""

from __future__ import annotations

import errno
import os
import pickle
import random

import numpy as np
import pytest
import torch

from fastbrain import _io
from fastbrain.errors import CheckpointError, DiskError
from fastbrain.training import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from fastbrain.training.checkpoint import rng_state, run_lock, set_rng_state

FILES = ["model.safetensors", "optimizer.safetensors", "rng.safetensors", "state.json"]


def some(value: float = 1.0) -> Checkpoint:
    return Checkpoint(
        {"w": torch.full((3, 5), value), "n": torch.tensor(7)},
        {"w/exp_avg": torch.randn(3, 5)},
        rng_state(),
        {"step": 3, "history": {"loss": 0.1 + 0.2}},
    )


def test_a_checkpoint_comes_back_the_same(tmp_path):
    saved = some()
    again = load_checkpoint(save_checkpoint(tmp_path, saved, step=3))
    for part in ("model", "optimizer", "rng"):
        ours, theirs = getattr(saved, part), getattr(again, part)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert again.state == saved.state


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, some(step), step=step)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000010"]
    assert latest_checkpoint(tmp_path).name == "step-00000010"


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_any_flipped_bit_is_found_and_the_one_before_is_used(tmp_path, name):
    save_checkpoint(tmp_path, some(1), step=1)
    folder = save_checkpoint(tmp_path, some(2), step=2)
    path = folder / name
    whole = path.read_bytes()
    rng = random.Random(name)
    for _ in range(60):
        bit = rng.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(broken))
        with pytest.raises(CheckpointError):
            load_checkpoint(folder)
    assert latest_checkpoint(tmp_path).name == "step-00000001"
    path.write_bytes(whole)
    assert latest_checkpoint(tmp_path) == folder


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_or_cut_file_is_found(tmp_path, name):
    folder = save_checkpoint(tmp_path, some(), step=1)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)
    assert latest_checkpoint(tmp_path) is None


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with pytest.raises(CheckpointError, match="w"):
        save_checkpoint(tmp_path, some(float("inf")), step=1)
    assert latest_checkpoint(tmp_path) is None


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, some(1), step=1)
    replace = os.replace
    written = []

    def full(source, target):
        written.append(target)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(_io.os, "replace", full)
    with pytest.raises(DiskError, match="disk is full"):
        save_checkpoint(tmp_path, some(2), step=2)
    monkeypatch.undo()
    assert latest_checkpoint(tmp_path).name == "step-00000001"
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_folder_that_cannot_be_written_is_a_disk_error(tmp_path):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    with pytest.raises(DiskError):
        save_checkpoint(tmp_path, some(), step=1)


def test_one_process_at_a_time(tmp_path):
    with (
        run_lock(tmp_path),
        pytest.raises(CheckpointError, match="one process"),
        run_lock(tmp_path),
    ):
        pass
    with run_lock(tmp_path):
        pass


def test_every_generator_goes_on_where_it_was():
    random.gauss(0, 1)
    np.random.standard_normal()  # noqa: NPY002
    state = rng_state()

    def draw():
        own = random.gauss(0, 1), random.random()
        return *own, np.random.standard_normal(3).tolist(), torch.rand(2).tolist()  # noqa: NPY002

    expected = draw()
    draw()
    set_rng_state(state)
    assert draw() == expected


def test_no_pickle_is_ever_opened(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a pickle was opened")

    for name in ("Unpickler", "Pickler", "load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch, "save", refuse)
    load_checkpoint(save_checkpoint(tmp_path, some(), step=1))
