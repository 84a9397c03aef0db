"""Features of clips: computed once, read from disk afterwards, and never stale or damaged."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from fastbrain.data.readers.clips import read_clip, write_clip
from fastbrain.llm4brain import from_vision_model
from fastbrain.llm4brain.training.frame_features import FrameFeatures

pytest.importorskip("av")
# the same product of tensors that lie elsewhere in memory may sum in another order
SAME = {"rtol": 1e-5, "atol": 1e-6}
TRIALS = {"t-1": "a", "t-2": "b", "t-3": "a"}


@pytest.fixture
def encoder():
    """A tiny ViT that counts how often it looks."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=8, patch_size=4,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = from_vision_model(ViTModel(config))
    looks = []
    encoder.model.register_forward_pre_hook(lambda *_: looks.append(1))
    encoder.looks = looks
    return encoder


@pytest.fixture
def clip_of(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        video = rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
        write_clip(tmp_path / f"{name}.mp4", video)
    return lambda trial: tmp_path / f"{TRIALS[trial]}.mp4"


def features(encoder, clip_of, tmp_path, **options) -> FrameFeatures:
    return FrameFeatures(
        encoder, clip_of, folder=tmp_path / "cache", **{"frames": 2, "size": 8, **options}
    )


def test_a_second_run_looks_at_nothing(encoder, clip_of, tmp_path, capsys):
    first = features(encoder, clip_of, tmp_path)
    assert first.prepare(TRIALS) == 2
    # two clips for three trials, each once
    assert len(encoder.looks) == 2
    found = {trial: first(trial) for trial in TRIALS}
    second = features(encoder, clip_of, tmp_path)
    assert second.prepare(TRIALS) == 0
    assert all(torch.equal(second(trial), found[trial]) for trial in TRIALS)
    assert len(encoder.looks) == 2
    assert "0 of 2 clips computed" in capsys.readouterr().err
    assert torch.equal(found["t-1"], found["t-3"])
    assert not torch.equal(found["t-1"], found["t-2"])
    frames = torch.from_numpy(read_clip(clip_of("t-2"), frames=2, size=8))
    torch.testing.assert_close(found["t-2"], encoder(frames[None])[0], **SAME)


@pytest.mark.parametrize("change", ["clip", "weights", "colours", "frames", "size"])
def test_what_changes_the_features_changes_the_key(encoder, clip_of, tmp_path, change):
    before = features(encoder, clip_of, tmp_path)
    key = before.key(clip_of("t-1"))
    assert features(encoder, clip_of, tmp_path).key(clip_of("t-1")) == key
    options = {}
    if change == "clip":
        whole = clip_of("t-1").read_bytes()
        clip_of("t-1").write_bytes(whole + b"\0")
    elif change == "weights":
        with torch.no_grad():
            encoder.model.layernorm.weight[3] += 1e-6
    elif change == "colours":
        encoder.mean += 0.01
    else:
        options = {change: {"frames": 3, "size": 16}[change]}
    assert features(encoder, clip_of, tmp_path, **options).key(clip_of("t-1")) != key


def test_the_key_does_not_depend_on_where_things_are(encoder, clip_of, tmp_path):
    from fastbrain.llm4brain import load_vision_model

    key = features(encoder, clip_of, tmp_path).key(clip_of("t-1"))
    (tmp_path / "moved.mp4").write_bytes(clip_of("t-1").read_bytes())
    encoder.model.save_pretrained(tmp_path / "vit")
    again = features(load_vision_model(str(tmp_path / "vit")), clip_of, tmp_path)
    assert again.key(tmp_path / "moved.mp4") == key


def test_any_damage_is_found_said_and_mended(encoder, clip_of, tmp_path, capsys):
    first = features(encoder, clip_of, tmp_path)
    first.prepare(["t-1"])
    expected, path = first("t-1"), first.path(clip_of("t-1"))
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(30):
        bit = rng.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(broken))
        capsys.readouterr()
        found = features(encoder, clip_of, tmp_path)("t-1")
        torch.testing.assert_close(found, expected, **SAME)
        # the lowest bits of a value are within the tolerance: the message shows that they were seen
        assert "is damaged, computed again" in capsys.readouterr().err
    for part in (b"", whole[:40], whole[:-1]):
        path.write_bytes(part)
        capsys.readouterr()
        found = features(encoder, clip_of, tmp_path)("t-1")
        torch.testing.assert_close(found, expected, **SAME)
        assert "is damaged, computed again" in capsys.readouterr().err
        assert torch.equal(features(encoder, clip_of, tmp_path)("t-1"), found)
        assert not capsys.readouterr().err
    assert not [p for p in Path(tmp_path / "cache").rglob("*") if p.suffix == ".tmp"]
