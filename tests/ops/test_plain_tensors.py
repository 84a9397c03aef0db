"""What the bindings read without asking Python: dense tensors on the CPU, in order."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import Parameter

from fastbrain import _native
from fastbrain.grid import TokenGrid
from fastbrain.ops import (
    _tensors,
    lora_linear,
    neighborhood_clustering,
    pack_codebook,
    tokenize_voxels,
    vq_lookup,
)
from fastbrain.ops.voxel_tokenizer import quick
from fastbrain.ops.vq import lookup

pytestmark = pytest.mark.skipif(
    not _tensors.READS_TENSORS, reason="this torch has no DLPack interface of version 1"
)


class Named(torch.Tensor):
    pass


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(3, 4),
        torch.zeros(()),
        torch.zeros(0, 4),
        torch.zeros(3, 4)[1:],
        # strides of an axis of one element say nothing
        torch.zeros(3, 4)[:1].T.contiguous().T,
        Parameter(torch.zeros(3)),
        torch.zeros(3, requires_grad=True),
        torch.zeros(3, dtype=torch.bool),
        *(torch.zeros(3, dtype=d) for d in (torch.float16, torch.bfloat16, torch.float64)),
        *(torch.zeros(3, dtype=d) for d in (torch.int16, torch.int64)),
    ],
    ids=lambda value: f"{value.dtype}-{tuple(value.shape)}",
)
def test_plain(value):
    assert _native.is_plain(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        [torch.zeros(3)],
        torch.zeros(3).numpy(),
        torch.zeros(3, 4).T,
        torch.zeros(3, 4)[:, :2],
        torch.zeros(1).expand(3),
        torch.zeros(3, device="meta"),
        torch.zeros(3).to_sparse(),
        torch.zeros(3).as_subclass(Named),
        torch.zeros(3, dtype=torch.complex64),
        torch.zeros(3, dtype=torch.int32),
        torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.quint8),
    ],
    ids=lambda value: type(value).__name__,
)
def test_not_plain(value):
    assert not _native.is_plain(value)


def test_a_tensor_inside_a_transformation_is_not_plain():
    found = []

    def look(x):
        found.append(_native.is_plain(x))
        return x.sum()

    torch.func.vmap(look)(torch.zeros(3, 4))
    torch.func.grad(look)(torch.zeros(3))
    assert found == [False, False]


def test_another_interface_is_not_read():
    assert not _native.read_tensors(torch.Tensor, Parameter, None)
    assert not _native.read_tensors(torch.Tensor, Parameter, object())
    assert _native.is_plain(torch.zeros(3))  # that of the import stays


@pytest.fixture
def forgotten():
    """No way is remembered for a shape, before the test and after it."""
    _native.lora_forget()
    yield
    _native.lora_forget()


SMALL = {"most": 24, "most_halves": 16, "work": 1 << 22, "threads": 1}


def at_once(*tensors, scale=0.5, activation="gelu", graded=False, **limits):
    limits = SMALL | limits
    return _native.lora_at_once(*tensors, scale, activation, graded, *limits.values())


def layer():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 3, 5), torch.randn(7, 5), torch.randn(7)
    return x, weight, bias, torch.randn(4, 5), torch.randn(7, 4)


def test_a_small_layer_at_once():
    x, *others = tensors = layer()
    found = at_once(*tensors)
    assert found.shape == (2, 3, 7)
    assert found.dtype is torch.float32
    expected = lora_linear(*tensors, scale=0.5, activation="gelu", backend="reference")
    torch.testing.assert_close(found, expected)
    assert at_once(x[0, 0], *others).shape == (7,)
    assert at_once(x[:0], *others).shape == (0, 3, 7)
    assert at_once(*(t.bfloat16() for t in tensors)).dtype is torch.bfloat16
    graded = *tensors[:4], Parameter(tensors[4])
    assert not at_once(*graded).requires_grad


def test_sizes_of_a_layer_that_is_not_small(forgotten):
    tensors = layer()
    sizes = 6, 7, 5
    # the last one: whether a way must be chosen
    assert at_once(*tensors, most=5) == (*sizes, True)
    assert at_once(*tensors, work=6 * 5 * 7) == (*sizes, True)
    assert at_once(*(t.bfloat16() for t in tensors), most_halves=5) == (*sizes, True)
    assert at_once(*tensors[:4], Parameter(tensors[4]), graded=True) == (*sizes, False)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_the_way_of_a_shape_is_remembered(bfloat16, monkeypatch, forgotten):
    tensors = [t.bfloat16() if bfloat16 else t for t in layer()]
    few = {"most": 5, "most_halves": 5}
    _native.lora_remember(bfloat16, 6, 7, 5, 1, False)
    assert at_once(*tensors, **few) == (6, 7, 5, False)
    _native.lora_remember(bfloat16, 6, 7, 5, 1, True)
    assert torch.equal(at_once(*tensors, **few), at_once(*tensors))
    with monkeypatch.context() as patch:
        patch.setenv("FASTBRAIN_MEASURE", "products")
        assert at_once(*tensors, **few) == (6, 7, 5, True)
    _native.lora_forget()
    assert at_once(*tensors, **few) == (6, 7, 5, True)


def test_what_only_the_full_checks_can_tell():
    x, weight, bias, a, b = tensors = layer()
    for wrong in ({"scale": 1}, {"scale": math.inf}, {"activation": "tanh"}, {"activation": 3}):
        assert at_once(*tensors, **wrong) is None
    shorter = x[..., :4], weight[:, :4], bias[:5], a[:, :4], b[:, :3]
    for i in range(5):
        for wrong in (shorter[i].contiguous(), tensors[i].double(), tensors[i].numpy()):
            assert at_once(*tensors[:i], wrong, *tensors[i + 1 :]) is None
    with pytest.raises(TypeError, match="12 arguments"):
        _native.lora_at_once(*tensors)


def test_what_is_read_of_a_lookup():
    x, codes, mask = torch.zeros(2, 3, 5), torch.zeros(7, 5), torch.ones(2, 3, dtype=torch.bool)
    addresses = x.data_ptr(), mask.data_ptr(), codes.data_ptr()
    found = _native.vq_arguments(x, codes, mask)
    assert found == (addresses[0], 0, addresses[1], 6, addresses[2], 7, 5)
    assert _native.vq_arguments(x, codes, None)[2] == 0
    for wrong in (mask[0], mask.int(), mask[:, :2], mask.numpy()):
        assert _native.vq_arguments(x, codes, wrong) is None
    for wrong in (codes.double(), codes[:, :4].contiguous(), codes[:0], codes[0], codes.T):
        assert _native.vq_arguments(x, wrong, mask) is None
    for wrong in (x.double(), x[..., :4].contiguous(), x[:0], x[0, 0, 0], x.mT):
        assert _native.vq_arguments(wrong, codes, None) is None


def tokenizer():
    grid = TokenGrid.from_mask(np.ones((4, 6, 6), bool), kernel=(2, 2, 2), stride=(2, 2, 2))
    volumes, weight = torch.randn(3, 1, *grid.shape), torch.randn(5, 1, 2, 2, 2)
    return grid, (volumes, weight, torch.randn(5), torch.randn(grid.shape), torch.ones(grid.shape))


def test_what_is_read_of_volumes():
    grid, tensors = tokenizer()
    plan = quick._plan(grid).native
    volumes, weight, bias, mean, inv_std = tensors
    source, *found = plan.arguments(*tensors, 1.0)
    assert isinstance(source, _native.VoxelSource)
    assert found == [weight.data_ptr(), bias.data_ptr(), 3, 5, False, False]
    assert plan.arguments(volumes, weight, None, None, None, 1.0)[2] == 0
    packed = torch.zeros(3, 1, grid.n_tokens, grid.patch_voxels, dtype=torch.int16)
    assert plan.arguments(packed, weight, bias, packed[0, 0].float(), inv_std, 1.0) is not None
    assert plan.arguments(volumes, weight, Parameter(bias), mean, inv_std, 1.0)[-1]
    shorter = volumes[..., :4], weight[..., :1], bias[:4], mean[:3], inv_std[..., :4]
    for i in range(5):
        for wrong in (shorter[i].contiguous(), tensors[i].double(), tensors[i].numpy()):
            assert plan.arguments(*tensors[:i], wrong, *tensors[i + 1 :], 1.0) is None
    assert plan.arguments(volumes.expand(3, 2, *grid.shape).clone(), *tensors[1:], 1.0) is None


def test_a_tensor_without_memory_is_not_written():
    x, weight, bias, a, b = layer()
    codes = torch.randn(9, 5)
    grid, tensors = tokenizer()
    volumes, weights, *_ = tensors
    with FakeTensorMode(allow_non_fake_inputs=True):
        for call in (
            lambda: lora_linear(x, weight, bias, a, b),
            lambda: vq_lookup(x, codes),
            lambda: tokenize_voxels(volumes, weights, grid=grid),
        ):
            with pytest.raises(ValueError, match="must not be null"):
                call()


def test_a_negated_view_has_its_own_values():
    x, *others = layer()
    negated = torch.complex(torch.zeros_like(x), x).conj().imag
    assert negated.is_neg()
    assert torch.equal(lora_linear(negated, *others), lora_linear(-x, *others))


@pytest.mark.parametrize("packed", [False, True])
def test_rows_out_of_order_are_looked_up_without_the_full_checks(packed, monkeypatch):
    torch.manual_seed(0)
    x, codes = torch.randn(2, 5, 40), torch.randn(9, 5)
    given = pack_codebook(codes) if packed else codes
    expected = vq_lookup(x.mT.contiguous(), given)
    vq_lookup(x.mT, given)  # a codebook is packed at its second sight
    monkeypatch.setattr(lookup, "_problem", None)
    assert torch.equal(vq_lookup(x.mT, given), expected)


def test_results_do_not_depend_on_the_interface(monkeypatch):
    tensors = layer()
    unit = torch.nn.functional.normalize(torch.randn(40, 16))
    indices = torch.arange(3)
    grid, (volumes, weight, bias, mean, inv_std) = tokenizer()

    def results():
        loss = neighborhood_clustering(
            unit[:3], unit[3:5], unit[5:], indices, temperature=0.05, variant="dance"
        )
        tokens = tokenize_voxels(volumes, weight, bias, grid=grid, mean=mean, inv_std=inv_std)
        return lora_linear(*tensors), loss, tokens, vq_lookup(unit[:6], unit[6:])

    found = results()
    monkeypatch.setattr(_native, "lora_at_once", lambda *_: None)
    monkeypatch.setattr(_native, "neighborhood_small", lambda *_: False)
    monkeypatch.setattr(_native, "vq_arguments", lambda *_: None)
    monkeypatch.setattr(quick, "_plan", lambda _: None)
    monkeypatch.setattr(quick, "_plans", {})
    for ours, checked in zip(found, results(), strict=True):
        torch.testing.assert_close(ours, checked, rtol=0, atol=0)
