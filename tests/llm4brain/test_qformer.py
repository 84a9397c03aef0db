"""Q-Former and frame encoders."""

from __future__ import annotations

import pytest
import torch

from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain import Bridge, QFormer, QFormerConfig, VideoConfig, from_vision_model
from fastbrain.nn import FrameEncoder

# float32 attention that sums over its context in another order
FP32 = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.parametrize("context_dim", [12, 17], ids=["same width", "projected"])
@pytest.mark.parametrize("length", [1, 63])
def test_the_qformer_gives_its_queries_whatever_the_context(context_dim, length):
    qformer = QFormer(QFormerConfig(dim=12, depth=2, heads=3, n_queries=7), context_dim)
    context = torch.randn(2, length, context_dim)
    out = qformer(context)
    assert out.shape == (2, 7, 12)
    # a set of tokens: their order does not matter
    torch.testing.assert_close(qformer(context.flip(1)), out, **FP32)
    assert not torch.allclose(qformer(context + 1), out, atol=1e-3)


def test_the_qformer_refuses_another_width():
    with pytest.raises(InputError, match="context must be"):
        QFormer(QFormerConfig(dim=12, heads=3), 12)(torch.randn(2, 5, 13))


def test_frames_become_tokens_that_know_their_time():
    encoder = FrameEncoder(VideoConfig(frames=3, size=8, patch=4, dim=12, depth=1, heads=3))
    frames = torch.rand(2, 3, 3, 8, 8)
    out = encoder(frames)
    assert out.shape == (2, 3 * 4, 12)
    still = frames[:, :1].expand(-1, 3, -1, -1, -1)
    first, second = encoder(still).unflatten(1, (3, 4))[:, :2].unbind(1)
    assert not torch.allclose(first, second)
    with pytest.raises(InputError, match="frames must be"):
        encoder(frames[:, :2])


def test_any_vision_model_can_be_the_frame_encoder():
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
    )
    encoder = from_vision_model(ViTModel(config)).train()
    out = encoder(torch.rand(2, 3, 3, 8, 8))
    assert out.shape == (2, 3 * 5, encoder.dim)
    assert not out.requires_grad
    assert not encoder.model.training
    assert not any(p.requires_grad for p in encoder.parameters())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"patch": 5}, "patch must divide size"),
        ({"heads": 5}, "dim must be a positive multiple of the 5 heads"),
        ({"frames": 0}, "frames must be 1 or more"),
        ({"size": 0}, "patch must divide size"),
        ({"mlp_ratio": -1.0}, "mlp_ratio must lie between 0 and 64"),
    ],
)
def test_impossible_video_sizes_are_refused(bad, message):
    with pytest.raises(ConfigError, match=message):
        VideoConfig(**bad)


def test_an_impossible_width_of_the_mlp_is_refused():
    with pytest.raises(ConfigError, match="mlp_ratio must lie between 0 and 64"):
        QFormerConfig(mlp_ratio=0.0)


def test_the_bridge_can_subtract_one_place_from_another():
    bridge = Bridge(5, 4, out_tokens=2, out_dim=3)
    with torch.no_grad():
        bridge.mix.weight.zero_()
        bridge.mix.weight[0, 1], bridge.mix.weight[0, 3] = 1.0, -1.0
    tokens = torch.randn(2, 5, 4)
    expected = bridge.map(bridge.norm(tokens[:, 1] - tokens[:, 3] + bridge.mix.bias[0]))
    torch.testing.assert_close(bridge(tokens)[:, 0], expected)
    assert bridge(tokens).shape == (2, 2, 3)
    with pytest.raises(InputError, match="tokens must be"):
        bridge(tokens[:, 1:])


def test_a_bridge_without_mixing_takes_any_grid():
    bridge = Bridge(5, 4, out_tokens=0, out_dim=3)
    assert bridge(torch.randn(2, 9, 4)).shape == (2, 9, 3)
