"""Checkpoints: whole or refused, the last two kept, random numbers and all."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import re

import numpy as np
import pytest
import torch
from damage import flip_last_bit

from fastbrain import _io
from fastbrain.errors import CheckpointError, DiskError
from fastbrain.training import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from fastbrain.training.checkpoint import recover_checkpoints, rng_state, run_lock, set_rng_state

FLIPS = 1000  # over five files; the number that SECURITY.md promises
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
    for _ in range(FLIPS // 5):
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
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load_checkpoint(folder)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=re.escape(name)):
        load_checkpoint(folder)
    with pytest.raises(CheckpointError, match="step-00000001"):
        latest_checkpoint(tmp_path)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, capsys):
    first = save_checkpoint(tmp_path, some(1), step=1)
    flip_last_bit(save_checkpoint(tmp_path, some(2), step=2) / "model.safetensors")
    assert latest_checkpoint(tmp_path) == first
    assert "step-00000002" in capsys.readouterr().err


def test_a_run_whose_checkpoints_are_all_damaged_is_an_error_that_names_them(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for step in (1, 2):
        flip_last_bit(save_checkpoint(tmp_path, some(step), step=step) / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"step-00000002.*step-00000001"):
        latest_checkpoint(tmp_path)


def names(run):
    return sorted(p.name for p in (run / "checkpoints").iterdir())


def test_pruning_counts_whole_checkpoints_only(tmp_path):
    # what another process damaged has the highest steps
    for step in (1, 8, 9):
        save_checkpoint(tmp_path, some(step), step=step, keep=3)
    for step in (8, 9):
        flip_last_bit(tmp_path / "checkpoints" / f"step-{step:08d}" / "model.safetensors")
    for step in (2, 3, 4):
        save_checkpoint(tmp_path, some(step), step=step)
        assert f"step-{step:08d}" in names(tmp_path)
        assert f"step-{step - 1:08d}" in names(tmp_path)
    assert names(tmp_path) == ["step-00000003", "step-00000004"]
    assert latest_checkpoint(tmp_path).name == "step-00000004"


def test_pruning_reads_no_file_that_this_process_wrote(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a checkpoint was read again")

    save_checkpoint(tmp_path, some(), step=1)
    monkeypatch.setattr("fastbrain.training.checkpoint.verify", refuse)
    for step in range(2, 6):
        save_checkpoint(tmp_path, some(), step=step)


def test_another_layout_is_an_error_and_no_restart(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, some(), step=1)
    monkeypatch.setattr("fastbrain.training.checkpoint.LAYOUT", 2)
    save_checkpoint(tmp_path, some(), step=2)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"step-00000002 must have layout 1, got 2"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]"]
)
def test_tensors_that_are_none_are_a_checkpoint_error(tmp_path, content):
    folder = save_checkpoint(tmp_path, some(), step=1)
    (folder / "optimizer.safetensors").write_bytes(content)
    manifest = {name: _io.sha256(folder / name) for name in FILES}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors"):
        load_checkpoint(folder)


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path):
    folder = save_checkpoint(tmp_path, some(1), step=1)
    aside = folder.parent / ".step-00000001.abcd1234.old"
    aside.mkdir()
    folder.rename(aside / folder.name)
    assert latest_checkpoint(tmp_path) is None
    recover_checkpoints(tmp_path)
    assert latest_checkpoint(tmp_path) == folder


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r"must be finite, got NaN or infinity in \['w'\]"):
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
    with pytest.raises(DiskError, match="checkpoints"):
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
