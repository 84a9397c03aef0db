"""The kernel for the few rows of a decoding step on the CPU."""

from __future__ import annotations

import pytest
import torch

from fastbrain.ops import lora_linear
from fastbrain.ops.lora import cpu_decode, products
from fastbrain.ops.lora.checks import LinearProblem


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def layer(rows, d_in, d_out, rank):
    weight, a, b = normal(d_out, d_in), normal(rank, d_in), normal(d_out, rank)
    return normal(rows, d_in), weight * d_in**-0.5, normal(d_out), a * d_in**-0.5, b


@pytest.fixture
def not_used(monkeypatch):
    def fail(*arguments):
        raise AssertionError("the kernel for few rows ran")

    monkeypatch.setattr(cpu_decode, "layer", fail)


@pytest.mark.parametrize("activation", ["", "gelu", "silu", "relu"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (3, 31, 9, 2), (7, 64, 33, 16), (24, 97, 5, 0)])
def test_it_is_as_near_the_truth_as_the_products(sizes, activation):
    tensors = layer(*sizes)
    wide = [t.double() for t in tensors]
    truth = products.composed(LinearProblem(*wide, 0.5, activation))
    theirs = (products.composed(LinearProblem(*tensors, 0.5, activation)) - truth).abs().max()
    ours = (cpu_decode.layer(LinearProblem(*tensors, 0.5, activation)) - truth).abs().max()
    # one rounding of a value of size 4
    assert ours <= 1.25 * theirs + 2.0**-22


def test_threads_do_not_change_a_bit():
    tensors = layer(5, 515, 777, 16)
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(cpu_decode.layer(LinearProblem(*tensors, 1.0, "gelu")))
    torch.set_num_threads(threads)
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


@pytest.mark.usefixtures("not_used")
@pytest.mark.parametrize("why", ["rows", "dtype", "gradient", "transposed"])
def test_what_it_is_not_meant_for_goes_to_the_products(why):
    x, weight, bias, a, b = layer(cpu_decode.MOST_ROWS + (why == "rows"), 19, 7, 2)
    if why == "dtype":
        x, weight, bias, a, b = (t.double() for t in (x, weight, bias, a, b))
    if why == "transposed":
        weight = weight.T.contiguous().T
    b.requires_grad_(why == "gradient")
    assert lora_linear(x, weight, bias, a, b).shape == (len(x), 7)
