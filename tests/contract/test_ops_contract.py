"""What every op promises, whichever backend runs it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils._pytree import tree_map_only

from fastbrain import ops
from fastbrain.errors import BackendError, InputError
from fastbrain.ops._cases import Case, all_cases
from fastbrain.ops._selftest import CHAIN, RELATIVE, check
from fastbrain.ops.voxel_tokenizer.cpu import rows_of

CASES = all_cases()
# one small case of each op, for what is slow to check
FIRST = {case.op: case for case in CASES[::-1]}
# cosine between gradients: that of an error of 1.4 % at a right angle, more than half precision has
SAME_WAY = 0.9999
# mean error over mean size: a systematic error of a kernel, of which rounding would leave little
BIAS = 1e-3
# backends made of PyTorch's products, whose rounding may depend on the number of threads
LIBRARY = {("lora_linear", "cpu"), ("lora_attention", "cpu")}


def can_run(case: Case, backend: str, dtype: torch.dtype) -> bool:
    call = case.inputs(dtype=dtype)
    rows = dict(ops.explain(case.op, *call.args, **call.options).rows)
    return rows[backend] is None


def native() -> list[object]:
    return [
        pytest.param(case, backend, dtype, id=f"{case.id}-{backend}-{str(dtype)[6:]}")
        for case in CASES
        for dtype in case.dtypes
        for backend in ("cuda", "triton", "cpu")
        if can_run(case, backend, dtype)
    ]


@pytest.mark.parametrize(("case", "backend", "dtype"), native())
def test_native_backend_is_as_near_to_the_truth_as_the_reference(case, backend, dtype):
    passed, error = check(case, backend, dtype, "cpu")
    assert passed, f"relative error {error}"


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{case.id}-{str(dtype)[6:]}")
        for case in CASES
        for dtype in case.dtypes
    ],
)
def test_reference_is_near_the_truth(case, dtype):
    truth = case.outcome(case.inputs(dtype=dtype, truth=True), backend="reference")
    got = case.outcome(case.inputs(dtype=dtype), backend="reference")
    allowed = RELATIVE[dtype] * CHAIN.get(case.op, 1)
    for g, t in zip(got, truth, strict=True):
        assert g.shape == t.shape
        if t.is_floating_point():
            assert g.isfinite().all()
            assert (g.double() - t.double()).norm() <= allowed * t.norm() + 1e-6
        else:
            assert torch.equal(g, t)


@pytest.mark.parametrize(("case", "backend", "dtype"), native())
def test_native_gradients_point_the_same_way(case, backend, dtype):
    truth = case.outcome(case.inputs(dtype=dtype, truth=True), backend="reference")[1:]
    got = case.outcome(case.inputs(dtype=dtype), backend=backend)[1:]
    for g, t in zip(got, truth, strict=True):
        if not t.any():
            assert not g.any()
            continue
        g = g.double()
        cosine = (g * t).sum() / (g.norm() * t.norm())
        assert cosine >= SAME_WAY
        # few roundings do not cancel: the mean of n of them is about 1/sqrt(n) of one
        one = CHAIN.get(case.op, 1) * torch.finfo(dtype).eps
        allowed = max(BIAS, one * t.numel() ** -0.5)
        assert abs((g - t).sum() / t.abs().sum()) <= allowed


@pytest.mark.parametrize(
    ("case", "backend"),
    [
        pytest.param(case, backend, id=f"{case.id}-{backend}")
        for case in CASES
        if case.inputs().leaves
        for backend in ("cpu", "reference")
        if can_run(case, backend, torch.float64)
    ],
)
def test_gradients_are_derivatives(case, backend):
    call = case.inputs(dtype=torch.float64)

    def function(*_leaves):
        with ops.backend(backend):
            return case.function(*call.args, **call.options)

    assert torch.autograd.gradcheck(function, call.leaves, fast_mode=True)


@pytest.mark.parametrize(("case", "backend", "dtype"), native())
def test_native_backend_is_deterministic(case, backend, dtype):
    threads = torch.get_num_threads()
    first = case.outcome(case.inputs(dtype=dtype), backend=backend)
    try:
        for run in range(10):
            if (case.op, backend) not in LIBRARY:
                torch.set_num_threads(1 + run % 3)
            again = case.outcome(case.inputs(dtype=dtype), backend=backend)
            assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("case", "backend", "dtype"), native())
def test_native_backend_writes_every_output(case, backend, dtype):
    expected = case.outcome(case.inputs(dtype=dtype), backend=backend)
    call = case.inputs(dtype=dtype)
    torch.use_deterministic_algorithms(True)
    try:
        # deterministic mode fills fresh memory with NaN
        assert torch.empty(3).isnan().all()
        poisoned = case.outcome(call, backend=backend)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(expected, poisoned, strict=True))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_explain_says_is_what_runs(case):
    def ran(call, backend=None):
        with ops.observed() as seen:
            case.outcome(call, backend=backend)
        assert {op for op, _ in seen} == {case.op}
        return {name for _, name in seen}

    for dtype in case.dtypes:
        call = case.inputs(dtype=dtype)
        explanation = ops.explain(case.op, *call.args, **call.options)
        assert ran(call) == {explanation.chosen}
        for name, reason in explanation.rows:
            call = case.inputs(dtype=dtype)
            with ops.backend(name):
                assert ops.explain(case.op, *call.args, **call.options).chosen == (
                    name if reason is None else None
                )
            if reason is None:
                assert ran(call, name) == {name}
            else:
                with pytest.raises(BackendError) as caught:
                    case.outcome(call, backend=name)
                assert reason in str(caught.value)


@pytest.mark.parametrize(
    "case",
    [*FIRST.values(), next(c for c in CASES if c.id == "tokenize_voxels-packed")],
    ids=lambda case: case.id,
)
def test_compiles_to_one_graph_with_the_same_result(case):
    torch._dynamo.reset()
    eager = case.outcome(case.inputs())
    compiled = dataclasses.replace(
        case, function=torch.compile(case.function, fullgraph=True, backend="aot_eager")
    )
    for got, expected in zip(compiled.outcome(case.inputs()), eager, strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("op", FIRST)
def test_tensors_without_values_are_refused_alike(op):
    call = FIRST[op].inputs()
    args, options = tree_map_only(torch.Tensor, lambda t: t.to("meta"), (call.args, call.options))
    told = f"{op}: .* must hold values, got a tensor on the meta device. Load the weights"
    with pytest.raises(InputError, match=told):
        FIRST[op].function(*args, **options)


@pytest.mark.parametrize("op", ["tokenize_voxels", "lora_linear"])
def test_no_recompilation_over_batch_sizes(op):
    torch._dynamo.reset()
    graphs = []

    def count(graph, _inputs):
        graphs.append(graph)
        return graph

    call = FIRST[op].inputs()
    first, *rest = call.args
    function = torch.compile(FIRST[op].function, fullgraph=True, dynamic=True, backend=count)
    for batch in (2, 3, 5, 7, 11):
        several = first.detach()[:1].expand(batch, *first.shape[1:]).clone()
        got = function(several, *rest, **call.options)
        torch.testing.assert_close(got, FIRST[op].function(several, *rest, **call.options))
    assert len(graphs) == 1


@pytest.mark.parametrize("layout", ["odd", "packed"])
def test_tokenizer_operators_keep_their_schema(layout):
    case = next(c for c in CASES if c.id == f"tokenize_voxels-{layout}")
    call = case.inputs()
    volumes, weight, bias = (t.detach() for t in call.args)
    bases, bits = rows_of(call.options["grid"])
    stored = (volumes, bases, bits, call.options["mean"], call.options["inv_std"], 0.5)
    forward = torch.ops.fastbrain.tokenize_voxels_cpu.default
    for with_bias in (bias, None):
        torch.library.opcheck(forward, (weight, with_bias, *stored))
    # dense but permuted
    permuted = weight.transpose(-1, -2).contiguous().transpose(-1, -2)
    torch.library.opcheck(forward, (permuted, bias, *stored))
    grad = forward(weight, bias, *stored)
    torch.library.opcheck(
        torch.ops.fastbrain.tokenize_voxels_cpu_grad.default,
        (grad, weight.shape[1], list(weight.shape[2:]), *stored),
    )


@pytest.mark.parametrize("pair", ["linear_cpu"])
@pytest.mark.parametrize("activation", ["", "gelu", "silu", "relu"])
def test_lora_operators_keep_their_schema(pair, activation):
    x, weight, bias = torch.randn(7, 5), torch.randn(9, 5), torch.randn(9)
    a, b = [torch.randn(2, 5), torch.randn(3, 5)], [torch.randn(4, 2), torch.randn(3, 3)]
    options = ([0, 6], 0.5, activation)
    forward = getattr(torch.ops.fastbrain, f"lora_{pair}").default
    gradients = getattr(torch.ops.fastbrain, f"lora_{pair}_gradients").default
    for with_bias in (bias, None):
        torch.library.opcheck(forward, (x, weight, with_bias, a, b, *options))
    # dense but permuted
    permuted = weight.T.contiguous().T
    torch.library.opcheck(forward, (x.T.contiguous().T, permuted, bias, a, b, *options))
    y, low = forward(x, weight, bias, a, b, *options)
    for wanted in ([True] * 5, [False, False, False, True, True], [True] + [False] * 4):
        arguments = (y.cos(), x, weight, None, a, b, *options, low, wanted)
        torch.library.opcheck(gradients, arguments)
