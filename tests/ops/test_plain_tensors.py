"""What the bindings read without asking Python: dense tensors on the CPU, in order."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import Parameter

from fastbrain import _native
from fastbrain.ops import _tensors, lora_linear, neighborhood_clustering

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


def test_sizes_of_a_layer_that_is_not_small():
    tensors = layer()
    sizes = 6, 7, 5
    assert at_once(*tensors, most=5) == (*sizes, False)
    assert at_once(*tensors, work=6 * 5 * 7) == (*sizes, False)
    assert at_once(*(t.bfloat16() for t in tensors), most_halves=5) == (*sizes, False)
    assert at_once(*tensors[:4], Parameter(tensors[4]), graded=True) == (*sizes, True)


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


def test_results_do_not_depend_on_the_interface(monkeypatch):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 16), torch.randn(24, 16), torch.randn(24)
    a, b = torch.randn(4, 16), torch.randn(24, 4)
    unit = torch.nn.functional.normalize(torch.randn(40, 16))
    indices = torch.arange(3)

    def results():
        loss = neighborhood_clustering(
            unit[:3], unit[3:5], unit[5:], indices, temperature=0.05, variant="dance"
        )
        return lora_linear(x, weight, bias, a, b), loss

    quick = results()
    monkeypatch.setattr(_native, "lora_at_once", lambda *_: None)
    monkeypatch.setattr(_native, "neighborhood_small", lambda *_: False)
    for ours, checked in zip(quick, results(), strict=True):
        torch.testing.assert_close(ours, checked, rtol=0, atol=0)
