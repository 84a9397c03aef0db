"""The kernel for the few rows of a decoding step on the CPU."""

from __future__ import annotations

import math

import pytest
import torch
from seeded import normal

from fastbrain import _native
from fastbrain.ops import _measured, explain, lora_linear
from fastbrain.ops._selftest import SLACK
from fastbrain.ops.lora import cpu_decode, products
from fastbrain.ops.lora.checks import LinearProblem


def layer(rows, d_in, d_out, rank):
    weight, a, b = normal(d_out, d_in), normal(rank, d_in), normal(d_out, rank)
    return normal(rows, d_in), weight * d_in**-0.5, normal(d_out), a * d_in**-0.5, b


# rows, d_in, d_out, rank; the inner axis of 5 to 8 rows is added block by block, and widths of the
# last line are multiplied by tiles where the CPU has them
SIZES = [
    *((1, 1, 1, 1), (3, 31, 9, 2), (7, 64, 33, 16), (24, 97, 5, 0)),
    *((5, 1601, 35, 17), (8, 1056, 7, 3), (2, 1031, 6, 33)),
    *((4, 64, 32, 16), (13, 96, 160, 17), (17, 1056, 64, 3), (33, 160, 96, 0), (64, 32, 32, 65)),
]

# float32 numbers in a vector of the kernel and of PyTorch's products. Each adds every so-many-th
# product in one chain, whose error is at most proportional to its length.
LANES = {"baseline": 4, "avx2": 8}.get(_native.isa(), 16)
THEIR_LANES = {"DEFAULT": 4, "AVX2": 8}.get(torch.backends.cpu.get_cpu_capability(), 16)
LONGER = max(1.0, THEIR_LANES / LANES)


@pytest.fixture
def not_used(monkeypatch):
    def fail(*arguments):
        raise AssertionError("the kernel for few rows ran")

    at_once = _native.lora_at_once

    def sized(*arguments):
        found = at_once(*arguments)
        return fail() if isinstance(found, torch.Tensor) else found

    monkeypatch.setattr(cpu_decode._native, "lora_few", fail)
    monkeypatch.setattr(cpu_decode._native, "lora_at_once", sized)


@pytest.mark.parametrize("activation", ["", "gelu", "silu", "relu"])
@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_as_near_the_truth_as_the_products(sizes, activation):
    tensors = layer(*sizes)
    wide = [t.double() for t in tensors]
    truth = products.composed(LinearProblem(*wide, 0.5, activation))
    theirs = (products.composed(LinearProblem(*tensors, 0.5, activation)) - truth).abs().max()
    ours = (cpu_decode.layer(LinearProblem(*tensors, 0.5, activation)) - truth).abs().max()
    # one rounding of a value of size 4
    assert ours <= SLACK * LONGER * theirs + 2.0**-22


@pytest.mark.parametrize("activation", ["", "gelu", "silu", "relu"])
@pytest.mark.parametrize("sizes", SIZES)
def test_bfloat16_is_as_near_the_truth_as_the_products(sizes, activation):
    tensors = [t.bfloat16() for t in layer(*sizes)]
    truth = products.composed(LinearProblem(*(t.double() for t in tensors), 0.5, activation))
    theirs = (products.composed(LinearProblem(*tensors, 0.5, activation)) - truth).abs().max()
    ours = cpu_decode.layer(LinearProblem(*tensors, 0.5, activation))
    assert ours.dtype == torch.bfloat16
    # half a step of bfloat16 at the size of the largest value
    assert (ours - truth).abs().max() <= SLACK * theirs + 2.0**-9 * truth.abs().max()


def test_bfloat16_is_rounded_to_even_and_keeps_what_is_no_number():
    x = torch.tensor([[1.0]], dtype=torch.bfloat16)
    weight = torch.tensor([[1.0], [-3.0]], dtype=torch.bfloat16)
    a, b = torch.zeros(0, 1, dtype=torch.bfloat16), torch.zeros(2, 0, dtype=torch.bfloat16)
    # 1 and 3 beside half a step, which goes to the even neighbour
    bias = torch.tensor([2.0**-8, -(2.0**-7)], dtype=torch.bfloat16)
    assert lora_linear(x, weight, bias, a, b).tolist() == [[1.0, -3.0]]
    odd = torch.tensor([[torch.inf], [torch.nan]], dtype=torch.bfloat16)
    found = lora_linear(x, odd, None, a, b)[0]
    assert found[0] == torch.inf
    assert found[1].isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lead", [(2,), (1, 3), (3, 1, 1), ()])
def test_plainly_right_arguments_take_the_short_way_to_the_same_bits(dtype, lead):
    x, weight, bias, a, b = (t.to(dtype) for t in layer(3, 31, 9, 2))
    x = x.reshape(-1)[: 31 * math.prod(lead)].reshape(*lead, 31)
    for offset in (bias, None):
        short = cpu_decode.at_once(x, weight, offset, a, b, 0.5, "silu")
        assert short is not None
        problem = LinearProblem(x.reshape(-1, 31), weight, offset, a, b, 0.5, "silu")
        assert torch.equal(short, cpu_decode.layer(problem).reshape(*lead, 9))
        assert torch.equal(
            short, lora_linear(x, weight, offset, a, b, scale=0.5, activation="silu")
        )


def test_the_short_way_is_for_plainly_right_arguments_alone():
    x, weight, bias, a, b = layer(2, 31, 9, 2)
    right = {"x": x, "weight": weight, "bias": bias, "a": a, "b": b, "scale": 1.0, "activation": ""}
    assert cpu_decode.at_once(**right) is not None
    wrong = {
        "x": [x[:, :30], x.double(), x.to_sparse(), x.t().contiguous().t(), 3.0, x[0, 0]],
        "weight": [weight[0], weight.t(), weight.half(), None],
        "bias": [bias[:8], bias.bfloat16()],
        "a": [a[:, :30], a[0], a[:1]],
        "b": [b[:, :1], b[:8], b.to("meta")],
        "scale": [1, float("nan"), float("inf"), "1"],
        "activation": ["tanh", 3],
    }
    for name, values in wrong.items():
        for value in values:
            assert cpu_decode.at_once(**right | {name: value}) is None, (name, value)
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu_decode.at_once(**right) is None


@pytest.mark.usefixtures("not_used")
@pytest.mark.parametrize("rows", [2, 300])
def test_the_short_way_leaves_gradients_to_matmuls(rows):
    x, weight, bias, a, b = layer(rows, 31, 9, 2)
    a.requires_grad_()
    y = cpu_decode.at_once(x, weight, bias, a, b, 0.5, "gelu")
    expected = products.composed(LinearProblem(x, weight, bias, a, b, 0.5, "gelu"))
    upstream = torch.randn_like(y)
    got, truth = (torch.autograd.grad(out, a, upstream)[0] for out in (y, expected))
    assert torch.equal(y, expected)
    assert torch.equal(got, truth)


@pytest.mark.skipif(_native.isa() != "avx512amx", reason="this CPU has no AMX")
@pytest.mark.parametrize(("width", "way"), [(64, "stream"), (66, "products")])
def test_tiles_take_more_rows(width, way):
    tensors = [t.bfloat16() for t in layer(64, width, width, 8)]
    assert explain("lora_linear", *tensors).how == way


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_rows_do_not_change_a_bit(dtype):
    x, *rest = (t.to(dtype) for t in layer(11, 1100, 37, 9))
    whole = cpu_decode.layer(LinearProblem(x, *rest, 0.5, "gelu"))
    for rows in (1, 3, 6, 8):
        some = cpu_decode.layer(LinearProblem(x[:rows], *rest, 0.5, "gelu"))
        assert torch.equal(some, whole[:rows])


# widths that are multiplied by tiles where the CPU has them, from 4 rows on
def test_tiles_of_fewer_rows_have_the_same_bits():
    x, *rest = (t.bfloat16() for t in layer(40, 1120, 96, 19))
    whole = cpu_decode.layer(LinearProblem(x, *rest, 0.5, "gelu"))
    for rows in (4, 16, 17, 33):
        some = cpu_decode.layer(LinearProblem(x[:rows], *rest, 0.5, "gelu"))
        assert torch.equal(some, whole[:rows])


@pytest.mark.parametrize("rows", [1, 7, 9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_behind_the_arrays_is_used(rows, dtype):
    sizes = (rows, 1003, 21, 5)
    tensors = [t.to(dtype) for t in layer(*sizes)]
    expected = cpu_decode.layer(LinearProblem(*tensors, 1.0, None))
    inside = []
    for value in tensors:
        held = torch.full((value.numel() + 128,), torch.nan, dtype=dtype)
        part = held[64 : 64 + value.numel()].view(value.shape)
        inside.append(part.copy_(value))
    assert torch.equal(cpu_decode.layer(LinearProblem(*inside, 1.0, None)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_do_not_change_a_bit(dtype, threads):
    tensors = [t.to(dtype) for t in layer(5, 515, 777, 16)]
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(cpu_decode.layer(LinearProblem(*tensors, 1.0, "gelu")))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("activation", ["", "gelu", "silu", "relu"])
def test_nan_reaches_its_row_alone(activation):
    x, *rest = layer(3, 19, 7, 2)
    x[1, 18] = torch.nan
    got = cpu_decode.layer(LinearProblem(x, *rest, 1.0, activation))
    assert got.isnan().all(dim=1).tolist() == [False, True, False]


def test_schema():
    x, weight, bias, a, b = layer(3, 19, 7, 2)
    for with_bias in (bias, None):
        args = (x.T.contiguous().T, weight, with_bias, a.T.contiguous().T, b, 0.5, "silu")
        torch.library.opcheck(torch.ops.fastbrain.lora_linear_cpu_decode.default, args)


def test_a_decoding_step_compiles_to_it():
    tensors = layer(2, 19, 7, 2)
    step = torch.compile(lambda *t: lora_linear(*t, activation="gelu"), fullgraph=True)
    torch.testing.assert_close(step(*tensors), lora_linear(*tensors, activation="gelu"))


def decoding(rows):
    width = math.isqrt(cpu_decode._LEAST_WORK // rows) + 1
    return layer(rows, width, width, 2)


@pytest.mark.usefixtures("not_used")
def test_the_operator_of_compiled_code_chooses_when_it_runs(monkeypatch):
    tensors = decoding(3)
    run = torch.ops.fastbrain.lora_linear_cpu_decode
    monkeypatch.setenv(_measured.VARIABLE, "products")
    expected = products.composed(LinearProblem(*tensors, 1.0, "relu"))
    assert torch.equal(run(*tensors, 1.0, "relu"), expected)
    monkeypatch.setenv(_measured.VARIABLE, "stream")
    with pytest.raises(AssertionError, match="few rows ran"):
        run(*tensors, 1.0, "relu")


@pytest.mark.usefixtures("not_used")
@pytest.mark.parametrize("rows", [1, 30])
def test_a_large_layer_takes_the_way_that_is_named(rows, monkeypatch):
    monkeypatch.setenv(_measured.VARIABLE, "products")
    tensors = decoding(rows)
    expected = products.composed(LinearProblem(*tensors, 1.0, "relu"))
    assert torch.equal(lora_linear(*tensors, activation="relu"), expected)
    # what is small follows the rule
    with pytest.raises(AssertionError, match="few rows ran"):
        lora_linear(*layer(rows, 9, 7, 2)) if rows == 1 else lora_linear(*layer(24, 9, 7, 2))
    monkeypatch.setenv(_measured.VARIABLE, "stream")
    with pytest.raises(AssertionError, match="few rows ran"):
        lora_linear(*tensors)


@pytest.mark.usefixtures("measuring")
def test_the_way_of_a_large_layer_is_measured_and_explained():
    tensors = decoding(2)
    assert "until the first such call" in explain("lora_linear", *tensors).how
    lora_linear(*tensors)
    assert "measured here: stream" in explain("lora_linear", *tensors).how
    assert list(_measured.report()["seconds"]) == ["lora_linear M2-in2048-out2048 float32"]
    _measured.forget()
    assert explain("lora_linear", *layer(2, 9, 7, 2)).how == "stream"
    assert explain("lora_linear", *layer(70, 9, 7, 2)).how == "products"


@pytest.mark.usefixtures("not_used")
@pytest.mark.parametrize("why", ["rows", "dtype", "gradient", "transposed"])
def test_what_it_is_not_meant_for_goes_to_the_products(why):
    most = cpu_decode.MOST_ROWS[torch.float32]
    x, weight, bias, a, b = layer(most + (why == "rows"), 19, 7, 2)
    if why == "dtype":
        x, weight, bias, a, b = (t.double() for t in (x, weight, bias, a, b))
    if why == "transposed":
        weight = weight.T.contiguous().T
    b.requires_grad_(why == "gradient")
    assert lora_linear(x, weight, bias, a, b).shape == (len(x), 7)
