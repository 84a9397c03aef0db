"""Adapters change nothing at first, everything they should later, and can be switched off."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from nonzero_adapters import nonzero_adapters

from fastbrain.errors import ConfigError
from fastbrain.llm4brain import AdapterConfig
from fastbrain.nn import AdaptedLinear, Adapter, Block, adapters_off
from fastbrain.nn.blocks import TemporalBlock

# fp32 sums of at most 64 terms of order one: 64 · 2^-24 ≈ 4e-6
FP32 = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
@pytest.mark.parametrize("rank", [1, 5])
def test_a_fresh_adapter_leaves_the_frozen_model_exactly_as_it_was(cross, rank):
    block = Block(14, 7, adapter=AdapterConfig(rank=rank), cross=cross)
    x, context = torch.randn(3, 5, 14), torch.randn(3, 11, 14)
    with adapters_off(block):
        frozen = block(x, context)
    assert torch.equal(block(x, context), frozen)
    nonzero_adapters(block)
    assert not torch.allclose(block(x, context), frozen)
    with adapters_off(block):
        assert torch.equal(block(x, context), frozen)


@pytest.mark.parametrize("activation", [None, "gelu", "silu", "relu"])
def test_adapted_linear_is_h_plus_s_times_b_act_a_h(activation):
    layer = AdaptedLinear(9, 5, AdapterConfig(rank=3, scale=0.7, activation=activation))
    nonzero_adapters(layer)
    x = torch.randn(2, 4, 9)
    low = x.double() @ layer.adapter.a.double().T
    low = low if activation is None else getattr(F, activation)(low)
    expected = x.double() @ layer.weight.double().T + layer.bias.double()
    expected = expected + 0.7 * low @ layer.adapter.b.double().T
    torch.testing.assert_close(layer(x), expected.float(), **FP32)


def test_every_adapter_of_a_block_gets_a_gradient():
    block = Block(12, 3, adapter=AdapterConfig(rank=2), cross=True)
    nonzero_adapters(block)
    block(torch.randn(2, 5, 12), torch.randn(2, 4, 12)).square().sum().backward()
    adapters = [m for m in block.modules() if isinstance(m, Adapter)]
    # queries of both attentions, both layers of the MLP
    assert len(adapters) == 4
    assert all(m.a.grad.abs().sum() > 0 and m.b.grad.abs().sum() > 0 for m in adapters)


def test_adapters_come_back_on_after_an_error():
    block = Block(12, 3, adapter=AdapterConfig(rank=2))
    off = block.mlp.up.adapter
    off.enabled = False

    def fail():
        with adapters_off(block):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not off.enabled
    assert block.mlp.down.adapter.enabled


def test_rank_zero_builds_no_adapter():
    block = Block(12, 3, adapter=AdapterConfig(rank=0), cross=True)
    assert not [m for m in block.modules() if isinstance(m, Adapter)]


def test_a_block_runs_under_bf16_autocast():
    block = Block(12, 3, adapter=AdapterConfig(rank=2), cross=True)
    x, context = torch.randn(2, 5, 12), torch.randn(2, 4, 12)
    plain = block(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        rough = block(x, context)
    # bfloat16 keeps 8 bits: 2^-8 of values up to about 4, over three parts
    torch.testing.assert_close(rough.float(), plain, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "bad",
    [
        {"rank": -1},
        {"activation": "tanh"},
        {"places": ()},
        {"places": ("key",)},
        {"places": ("mlp", "mlp")},
    ],
)
def test_a_bad_adapter_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        AdapterConfig(**bad)


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("query",), {"attention.q_adapter", "time.q_adapter"}),
        (("mlp",), {"mlp.up.adapter", "mlp.down.adapter"}),
        (("cross",), {"cross.q.adapter"}),
        (("mlp", "query"), {"attention.q_adapter", "time.q_adapter", "mlp.up.adapter",
                            "mlp.down.adapter"}),
    ],
)  # fmt: skip
def test_adapters_are_where_the_configuration_puts_them(places, names):
    config = AdapterConfig(rank=2, places=places)
    blocks = (
        Block(12, 3, adapter=config, cross=True, context_dim=10),
        TemporalBlock(12, 3, steps=2, adapter=config),
    )
    found = {n for b in blocks for n, m in b.named_modules() if isinstance(m, Adapter)}
    assert found == names
    whole = Block(12, 3, adapter=AdapterConfig(rank=2), cross=True)
    assert {n for n, m in whole.named_modules() if isinstance(m, Adapter)} == {
        "attention.q_adapter", "cross.q.adapter", "mlp.up.adapter", "mlp.down.adapter"
    }  # fmt: skip
    assert config.at("query") is (config if "query" in places else None)
    assert AdapterConfig(rank=0).at("query") is None
