"""Published weights in our modules, on files with exactly the names and shapes of the public ones.

No real checkpoint is at hand; the layouts are those of Mind-Vis' `fmri_encoder` and `MAEforFMRI`
and of Mind-Video's `fMRIEncoder`, with fewer and narrower blocks.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fastbrain._io import sha256
from fastbrain.errors import CheckpointError
from fastbrain.llm4brain import SCMBM, AdapterConfig, EncoderConfig, convert_pickle, load_scmbm

DIM, DEPTH, HEADS, PATCH, PATCHES = 24, 2, 3, 16, 19
# float32 through two blocks, with fused attention against its formula
FP32 = {"rtol": 1e-4, "atol": 1e-5}
CONFIG = EncoderConfig(dim=DIM, depth=DEPTH, heads=HEADS, decoder_dim=12, decoder_heads=2)


def published(*, temporal: bool = False, depth: int = DEPTH, decoder: bool = False):
    """Random tensors under the public names."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.3

    table = torch.cat([torch.zeros(1, DIM), draw(PATCHES, DIM)])[None]
    state = {
        "cls_token": draw(1, 1, DIM),
        "pos_embed": table,
        "mask_token": draw(1, 1, DIM),
        "patch_embed.proj.weight": draw(DIM, 1, PATCH),
        "patch_embed.proj.bias": draw(DIM),
        "norm.weight": 1 + draw(DIM),
        "norm.bias": draw(DIM),
    }
    for i in range(depth):
        linears = {"attn.qkv": (3 * DIM, DIM), "attn.proj": (DIM, DIM)}
        linears |= {"mlp.fc1": (DIM, DIM), "mlp.fc2": (DIM, DIM)}
        norms = ["norm1", "norm2"]
        if temporal:
            linears |= {"attn_temp.qkv": (3 * DIM, DIM), "attn_temp.proj": (DIM, DIM)}
            norms.append("norm_temp")
        for name, shape in linears.items():
            state[f"blocks.{i}.{name}.weight"] = draw(*shape)
            state[f"blocks.{i}.{name}.bias"] = draw(shape[0])
        for name in norms:
            state[f"blocks.{i}.{name}.weight"] = 1 + draw(DIM)
            state[f"blocks.{i}.{name}.bias"] = draw(DIM)
    if temporal:
        state["proj_head.channel_mapper.weight"] = draw(7, 2 * PATCHES)
        state["logit_scale"] = draw(1)[0]
    if decoder:
        state["decoder_embed.weight"] = draw(12, DIM)
        state["decoder_blocks.0.norm1.weight"] = draw(12)
        state["nature_img_mask_token"] = draw(1, 1, 12)
    return state


def attend(x, state, name):
    """Multi-head attention written out."""
    b, t, _ = x.shape
    qkv = F.linear(x, state[f"{name}.qkv.weight"], state[f"{name}.qkv.bias"])
    q, k, v = qkv.reshape(b, t, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-1, -2) / math.sqrt(DIM // HEADS)).softmax(-1)
    y = (weights @ v).transpose(1, 2).reshape(b, t, DIM)
    return F.linear(y, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"])


def norm(x, state, name):
    return F.layer_norm(x, (DIM,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def truth(state, x, steps):
    """The published blocks on tokens (B·W, T, DIM) that have their positions already."""
    for i in range(DEPTH):
        own = {k.removeprefix(f"blocks.{i}."): v for k, v in state.items()}
        x = x + attend(norm(x, own, "norm1"), own, "attn")
        if steps > 1:
            tokens = x.shape[1]
            y = x.reshape(-1, steps, tokens, DIM).transpose(1, 2).reshape(-1, steps, DIM)
            y = y + attend(norm(y, own, "norm_temp"), own, "attn_temp")
            x = y.reshape(-1, tokens, steps, DIM).transpose(1, 2).reshape(-1, tokens, DIM)
        h = F.gelu(F.linear(norm(x, own, "norm2"), own["mlp.fc1.weight"], own["mlp.fc1.bias"]))
        x = x + F.linear(h, own["mlp.fc2.weight"], own["mlp.fc2.bias"])
    return norm(x, state, "norm")


def written(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    return path


@pytest.mark.parametrize("prefix", ["", "cond_stage_model.mae."])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_same_numbers_as_the_published_blocks(tmp_path, centers, steps, prefix):
    state = published(temporal=steps > 1)
    file = written(tmp_path, {prefix + k: v for k, v in state.items()} | {"other": torch.ones(1)}
                   if prefix else state)  # fmt: skip
    # a fresh adapter changes nothing
    encoder = SCMBM(replace(CONFIG, steps=steps), centers, adapter=AdapterConfig(rank=2)).eval()
    said = load_scmbm(encoder, file)
    n = len(centers)
    tokens = torch.randn(3, steps * n, DIM)
    x = tokens.reshape(3 * steps, n, DIM) + encoder.positions
    x = torch.cat([state["cls_token"].expand(3 * steps, 1, DIM), x], dim=1)
    expected = truth(state, x, steps).reshape(3, -1, DIM)
    torch.testing.assert_close(encoder(tokens), expected, **FP32)
    assert said.sha256 == sha256(file)
    assert said.positions.startswith("not used")
    assert said.fresh == (("time",) if steps > 1 else ())
    assert f"{prefix}patch_embed.proj.weight" in said.unused


def test_the_position_table_is_interpolated(tmp_path, centers):
    state = published()
    encoder = SCMBM(replace(CONFIG, positions="table"), centers)
    said = load_scmbm(encoder, written(tmp_path, state))
    n = len(centers)
    assert said.positions == f"interpolated from {PATCHES} to {n} patches"
    at = torch.linspace(0, PATCHES - 1, n)
    low = at.floor().long().clamp_max(PATCHES - 2)
    line = state["pos_embed"][0, 1:]
    expected = torch.lerp(line[low], line[low + 1], (at - low)[:, None])
    torch.testing.assert_close(encoder.positions, expected, rtol=1e-5, atol=1e-5)
    # such a table belongs to the weights
    assert "positions" in encoder.state_dict()
    assert "positions" not in SCMBM(CONFIG, centers).state_dict()


def test_a_spatial_checkpoint_starts_a_temporal_encoder(tmp_path, centers):
    state = published(decoder=True)
    encoder = SCMBM(replace(CONFIG, steps=2), centers).eval()
    said = load_scmbm(encoder, written(tmp_path, state))
    assert "blocks.0.time.qkv.weight" in said.fresh
    assert "decoder_blocks.0.norm1.weight" in said.unused
    n = len(centers)
    tokens = torch.randn(2, 2 * n, DIM)
    alone = SCMBM(CONFIG, centers).eval()
    load_scmbm(alone, tmp_path / "weights.safetensors")
    both = alone(tokens.reshape(4, n, DIM)).reshape(2, -1, DIM)
    torch.testing.assert_close(encoder(tokens), both, **FP32)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("deeper", r"extra: blocks\.2"),
        ("shallower", r"must have blocks\.1\."),
        ("narrower", "reshaped: norm"),
        ("unknown", "unknown surprise"),
        ("no encoder", "one encoder with a cls_token, got 0"),
        ("temporal", r"extra: blocks\.0\.norm_time"),
        ("pickle", "must be a safetensors file"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, centers, fault, message):
    depth = {"deeper": 3, "shallower": 1}.get(fault, DEPTH)
    state = published(depth=depth, temporal=fault == "temporal")
    if fault == "narrower":
        state["norm.weight"] = torch.ones(DIM - 1)
    elif fault == "unknown":
        state["surprise"] = torch.ones(1)
    elif fault == "no encoder":
        del state["cls_token"]
    path = written(tmp_path, state)
    if fault == "pickle":
        torch.save(state, path)
    encoder = SCMBM(CONFIG, centers)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_scmbm(encoder, path)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


class Config:
    """What Mind-Vis' training script pickles beside its tensors."""


def test_pickles_are_converted_and_nothing_in_them_runs(tmp_path, centers):
    state = published()
    source = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "epoch": 3, "optimizer": {"lr": 0.1}}, source)
    out = convert_pickle(source, tmp_path / "scmbm.safetensors")
    said = load_scmbm(SCMBM(CONFIG, centers), out)
    assert said.source == sha256(source)
    torch.save({"model": state, "config": Config()}, source)
    with pytest.raises(CheckpointError, match=r"got .*Config\. Save its state dict alone"):
        convert_pickle(source, tmp_path / "other.safetensors")
    source.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="must hold tensors"):
        convert_pickle(source, tmp_path / "other.safetensors")
    torch.save([torch.ones(2)], source)
    with pytest.raises(CheckpointError, match="tensors by name"):
        convert_pickle(source, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()
