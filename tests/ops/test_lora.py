"""Adapted layers against what they must reduce to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from seeded import normal

from fastbrain.errors import InputError
from fastbrain.ops import LoraWeights, explain, lora_attention, lora_linear
from fastbrain.ops.lora import autograd, cpu_decode, products
from fastbrain.ops.lora.autograd import Pair
from fastbrain.ops.lora.checks import LinearProblem


def layer(d_in=31, d_out=17, rank=5):
    return normal(d_out, d_in), normal(d_out), normal(rank, d_in), normal(d_out, rank)


def test_without_activation_it_is_a_merged_weight():
    weight, bias, a, b = layer()
    x = normal(3, 7, 31)
    merged = F.linear(x, weight + 0.3 * b @ a, bias)
    torch.testing.assert_close(
        lora_linear(x, weight, bias, a, b, scale=0.3), merged, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("activation", [None, "gelu", "silu", "relu"])
def test_zero_b_is_the_frozen_layer(activation):
    weight, bias, a, b = layer()
    x = normal(cpu_decode.MOST_ROWS[torch.float32] + 1, 31)
    got = lora_linear(x, weight, bias, a, torch.zeros_like(b), activation=activation)
    assert torch.equal(got, F.linear(x, weight, bias))
    # the kernel for few rows adds in another order
    got = lora_linear(x[:3], weight, bias, a, torch.zeros_like(b), activation=activation)
    torch.testing.assert_close(got, F.linear(x[:3], weight, bias))


def test_the_activation_sits_between_a_and_b():
    weight, _, a, b = layer()
    x = normal(3, 31)
    got = lora_linear(x, weight, None, a, b, scale=2.0, activation="relu")
    torch.testing.assert_close(got, x @ weight.T + 2 * (x @ a.T).clamp_min(0) @ b.T)


def test_autocast_unifies_dtypes():
    weight, bias, a, b = layer()
    x = normal(3, 31).bfloat16()
    with pytest.raises(InputError, match="dtype of x"):
        lora_linear(x, weight, bias, a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert lora_linear(x, weight, bias, a, b).dtype == torch.bfloat16


def test_autocast_does_not_unify_doubles():
    weight, bias, a, b = layer()
    with torch.autocast("cpu"), pytest.raises(InputError, match="all be float64 or none"):
        lora_linear(normal(3, 31), weight, bias, a.double(), b)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_autocast_trains_float32_adapters_on_a_half_layer(backend):
    weight, bias, a, b = layer()
    a.requires_grad_()
    b.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = lora_linear(
            normal(3, 31), weight.bfloat16(), bias, a, b, activation="gelu", backend=backend
        )
    out.float().square().sum().backward()
    assert out.dtype == torch.bfloat16
    assert a.grad.dtype == b.grad.dtype == torch.float32


@pytest.mark.parametrize("activation", [None, "gelu", "silu", "relu"])
def test_cpu_gradients_are_derivatives(activation):
    tensors = [t.double() for t in (normal(3, 4), *layer(4, 5, 2))]
    leaves = [t.requires_grad_() for t in tensors]

    def function(*leaves):
        return lora_linear(*leaves, scale=0.7, activation=activation, backend="cpu")

    assert torch.autograd.gradcheck(function, leaves)


def test_frozen_weights_cost_no_gradient():
    weight, bias, a, b = layer()
    x = normal(37, 7, 31).requires_grad_()
    for leaf in (a, b):
        leaf.requires_grad_()
    asked = []
    original = products.gradients

    def spy(*arguments):
        asked.append(arguments[-1])
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(autograd._pairs, "linear_cpu", Pair(products.forward, spy))
        # an expanded upstream gradient has strides of zero
        for rows, activation in ((x, "gelu"), (x.detach(), None)):
            problem = LinearProblem(rows.flatten(0, 1), weight, bias, a, b, 1.0, activation)
            out = autograd.adapted("linear_cpu", products.AdaptedLayer.of(problem))
            out.sum().backward()
    assert asked == [[True, False, False, True, True], [False, False, False, True, True]]
    assert weight.grad is bias.grad is None


def attention(width=12):
    qkv = normal(3 * width, width) * 0.3, normal(3 * width)
    return qkv, (normal(width, width) * 0.3, normal(width))


@pytest.mark.parametrize("heads", [1, 3, 4])
def test_without_adapters_it_is_multi_head_attention(heads):
    qkv, out = attention()
    module = torch.nn.MultiheadAttention(12, heads, batch_first=True)
    with torch.no_grad():
        module.in_proj_weight.copy_(qkv[0])
        module.in_proj_bias.copy_(qkv[1])
        module.out_proj.weight.copy_(out[0])
        module.out_proj.bias.copy_(out[1])
    x = normal(2, 7, 12)
    allowed = torch.ones(7, 7, dtype=torch.bool).tril()
    expected, _ = module(x, x, x, attn_mask=~allowed, need_weights=False)
    got = lora_attention(x, qkv, out, adapters={}, num_heads=heads, mask=allowed[None, None])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("target", ["q", "k", "v", "out"])
def test_an_adapter_changes_its_own_projection(target):
    qkv, out = attention()
    x = normal(2, 7, 12)
    a, b = normal(3, 12), normal(12, 3)
    got = lora_attention(x, qkv, out, adapters={target: LoraWeights(a, b, 0.5)}, num_heads=3)
    weights = {name: w.clone() for name, w in zip("qkv", qkv[0].chunk(3), strict=True)}
    weights["out"] = out[0].clone()
    weights[target] += 0.5 * b @ a
    merged = torch.cat([weights[name] for name in "qkv"]), qkv[1]
    expected = lora_attention(x, merged, (weights["out"], out[1]), adapters={}, num_heads=3)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_adapters_of_two_kinds_share_no_product():
    qkv, out = attention()
    x, a, b = normal(2, 7, 12), normal(3, 12), normal(12, 3)
    adapters = {"q": LoraWeights(a, b, 0.5), "v": LoraWeights(a, b, 0.5, "gelu")}
    adapters["out"] = LoraWeights(a, b, 2.0, "relu")
    explanation = explain("lora_attention", x, qkv, out, adapters=adapters, num_heads=3)
    assert explanation.chosen == "reference"
    assert "differ in scale or activation" in dict(explanation.rows)["cpu"]
    del adapters["v"]
    got, expected = (
        lora_attention(x, qkv, out, adapters=adapters, num_heads=3, backend=backend)
        for backend in ("cpu", "reference")
    )
    torch.testing.assert_close(got, expected)


def peak_bytes(function):
    """Largest number of bytes that `function` held at one time on top of what was there."""
    with torch.profiler.profile(
        profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]
    ) as profile:
        function()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def test_attention_holds_neither_scores_nor_a_merged_weight():
    length, width, heads = 2048, 64, 2
    qkv, out = attention(width)
    w = LoraWeights(normal(4, width), normal(width, 4), 0.5, "gelu")
    x = normal(1, length, width)
    options = {"adapters": {"q": w, "out": w}, "num_heads": heads, "backend": "cpu"}
    plain = peak_bytes(lambda: lora_attention(x, qkv, out, **options | {"adapters": {}}))
    adapted = peak_bytes(lambda: lora_attention(x, qkv, out, **options))
    rows, low = 4 * length * width, 4 * length * 4
    # q, k, v and the heads, never (T, T); the adapters add the small output of A alone
    assert plain < 4 * length * length
    assert rows * 3 < adapted <= plain + 3 * low


def test_masks_broadcast_over_batch_and_heads():
    qkv, out = attention()
    x = normal(2, 5, 12)
    mask = normal(2, 3, 5, 5) > -0.5
    mask |= torch.eye(5, dtype=torch.bool)
    full = lora_attention(x, qkv, out, adapters={}, num_heads=3, mask=mask[:1, :1])
    same = mask[:1, :1].expand(2, 3, 5, 5).clone()
    torch.testing.assert_close(
        full, lora_attention(x, qkv, out, adapters={}, num_heads=3, mask=same)
    )


WEIGHT, BIAS, A, B = layer()
X = normal(3, 31)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((X, WEIGHT.T, BIAS, A, B), {}, "weight must have shape"),
        ((X, WEIGHT, BIAS[1:], A, B), {}, "bias must have shape"),
        ((X, WEIGHT, BIAS, A[:, 1:], B), {}, "a must have shape"),
        ((X, WEIGHT, BIAS, A, B[:, 1:]), {}, "b must have shape"),
        ((X.long(), WEIGHT, BIAS, A, B), {}, "x must have dtype"),
        ((X[0, 0], WEIGHT, BIAS, A, B), {}, "x must have a last axis"),
        ((X, WEIGHT.to("meta"), BIAS, A, B), {}, "weight must be on cpu"),
        ((X, WEIGHT, BIAS, A.double(), B), {}, "a must have the dtype of x"),
        ((X, WEIGHT, BIAS, A, B), {"activation": "tanh"}, "activation must be"),
        ((X, WEIGHT, BIAS, A, B), {"scale": float("inf")}, "scale must be finite"),
    ],
)
def test_linear_refuses_what_breaks_its_contract(args, options, message):
    with pytest.raises(InputError, match=message):
        lora_linear(*args, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": normal(5, 12)}, "x must have shape"),
        ({"num_heads": 5}, "num_heads must divide"),
        ({"num_heads": 0}, "num_heads must divide"),
        ({"qkv": (normal(12, 12), None)}, r"qkv\[0\] must have shape"),
        ({"out": (normal(12, 12), normal(5))}, r"out\[1\] must have shape"),
        (
            {"adapters": {"key": LoraWeights(A, B)}},
            "adapters must be named",
        ),
        (
            {"adapters": {"k": LoraWeights(A, B)}},
            r"\[k\]: a must have shape",
        ),
        ({"mask": torch.ones(5, 5, dtype=torch.bool)}, "mask must have shape"),
        ({"mask": torch.ones(1, 2, 5, 5, dtype=torch.bool)}, "mask must have shape"),
        ({"mask": torch.zeros(1, 1, 5, 5, dtype=torch.bool)}, "mask must leave a column"),
        ({"mask": torch.ones(1, 1, 5, 5)}, "mask must have dtype bool"),
    ],
)
def test_attention_refuses_what_breaks_its_contract(change, message):
    qkv, out = attention()
    arguments = {"x": normal(2, 5, 12), "qkv": qkv, "out": out, "adapters": {}, "num_heads": 3}
    arguments |= change
    with pytest.raises(InputError, match=message):
        lora_attention(**arguments)
