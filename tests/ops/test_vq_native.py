"""The nearest code in C++ and Triton: odd sizes, instruction sets, packed codebooks."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys

import pytest
import torch
from interpreted import interpreted
from processors import COMPILED, other_isas, slow
from seeded import normal

from fastbrain.errors import InputError
from fastbrain.ops import VQState, pack_codebook, vq_lookup, vq_update_
from fastbrain.ops._cases._case import Call
from fastbrain.ops._cases.vq import equally_near
from fastbrain.ops.vq import cpu, triton, update
from fastbrain.ops.vq.state import UpdateProblem

WIDTHS = (1, 2, 3, 8, 31, 32, 33, 64, 255, 256, 257, 513)
# the same tests run the interpreted kernels
BACKEND = "triton" if os.environ.get("TRITON_INTERPRET") == "1" else "cpu"
ROWS = (0, 1, 2, 13, 14, 15, 63, 64, 65) if BACKEND == "cpu" else (0, 1, 65)
CODES = (1, 31, 32, 33, 1000 if BACKEND == "cpu" else 65)
# in the interpreter every width meets two of the counts of codes, and every count its widths
SIZES = [
    (width, CODES[(k + step) % len(CODES)])
    for k, width in enumerate(WIDTHS)
    for step in (range(len(CODES)) if BACKEND == "cpu" else (0, 2))
]
HALVES = (torch.float16, torch.bfloat16)


def check(x, codebook, **options):
    options = {"metric": "euclidean", **options}
    found = vq_lookup(x, codebook, backend=BACKEND, **options)
    packed = pack_codebook(codebook, metric=options["metric"])
    assert torch.equal(vq_lookup(x, packed, backend=BACKEND, **options), found)
    exact = Call((x.double(), codebook.double()), options)
    wanted = vq_lookup(*exact.args, **options, backend="reference")
    assert equally_near(exact, found, wanted)
    return found


@pytest.mark.parametrize(("width", "codes"), SIZES)
def test_every_size_finds_the_nearest_code(width, codes):
    codebook = normal(codes, width, seed=1)
    for rows in ROWS:
        check(normal(rows, width), codebook)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_read_exactly(dtype, metric):
    x, codebook = normal(65, 33).to(dtype), normal(1000, 33, seed=1).to(dtype)
    # halves below the normal range and signed zeros too
    x[:3] *= 1e-5 if dtype == torch.float16 else 1e-30
    x[3] = -0.0
    found = check(x, codebook, metric=metric)
    assert torch.equal(found, check(x.float(), codebook.float(), metric=metric))


def test_many_rows_and_codes_share_the_work_without_a_seam(threads):
    x, codebook = normal(4099, 7), normal(2053, 7, seed=1)
    found = check(x, codebook)
    for count in (1, 2, 3, 8):
        threads(count)
        assert torch.equal(vq_lookup(x, codebook), found)
        assert torch.equal(vq_lookup(x[:5], pack_codebook(codebook)), found[:5])


# integers have exact products: numpy's BLAS, by which the interpreter multiplies, rounds equal
# columns differently by their place on some processors
@pytest.mark.parametrize("exact", [True, False] if BACKEND == "cpu" else [True])
@pytest.mark.parametrize("rows", [1, 5, 14, 100, 300])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_lowest_of_equal_codes_wins_wherever_they_stand(rows, metric, exact):
    once, x = normal(37, 19), normal(rows, 19, seed=2)
    if exact:
        once, x = (4 * once).round(), (4 * x).round()
    codebook = once[torch.arange(37 * 41) % 37]
    assert int(check(x, codebook, metric=metric).max()) < 37


def test_views_with_strides_and_offsets():
    x, codebook = normal(9, 2, 34), normal(34, 67, seed=1)
    mask = (normal(2, 9) > 0).T
    check(x[1:, :, 1:], codebook.T[:, 1:])
    check(x[..., 1:], codebook.T[:, 1:], mask=mask)
    check(x.expand(3, 9, 2, 34)[..., ::2], codebook.T[:, ::2].flip(0))


def test_masked_rows_are_never_used():
    x, codebook = normal(500, 9), normal(33, 9, seed=1)
    mask = normal(500) > 0.5
    expected = torch.where(mask, vq_lookup(x, codebook), -1)
    x[~mask] = torch.nan
    assert torch.equal(vq_lookup(x, codebook, mask=mask), expected)
    nothing = torch.zeros_like(mask)
    assert vq_lookup(x, codebook, mask=nothing).eq(-1).all()


def test_zero_has_no_direction():
    codebook = torch.tensor([[-1.0, 0], [0, 0], [0, 0]])
    x = torch.tensor([[0.0, 0], [1, 0], [-1, 1]])
    for backend in (BACKEND, "cpu", "reference"):
        assert vq_lookup(x, codebook, metric="cosine", backend=backend).tolist() == [0, 1, 0]


def rerun(tests, environment):
    """Run tests of this file in a process of their own; how many passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", tests]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    return int(re.search(r"(\d+) passed", ran.stdout)[1])


@pytest.mark.parametrize("isa", slow(other_isas(COMPILED["vq"])))
def test_every_instruction_set(isa):
    tests = "nearest_code or half_precision or lowest or masked or order_of_the_rows"
    assert rerun(tests, {**os.environ, "FASTBRAIN_ISA": isa}) >= 70


@pytest.mark.slow
def test_interpreted_kernels():
    tests = (
        "nearest_code or half_precision or lowest or masked or views or zero or segments or schema"
    )
    assert rerun(tests, interpreted()) >= 39


def test_sums_of_segments_do_not_depend_on_how_full_they_are():
    x, mask = normal(1000, 35), normal(1000) > -1
    for indices in (torch.zeros(1000, dtype=torch.int64), torch.arange(1000) % 7 - 1):
        parts = []
        state = VQState.from_codebook(torch.ones(9, 35))
        problem = UpdateProblem(state, x, indices, 0.0, mask, None)
        for sums in (cpu.sums, update.reference_sums, *([triton.sums] * (BACKEND == "triton"))):
            counts, total = sums(problem)
            parts.append(total)
            used = indices[mask & (indices >= 0)]
            assert torch.equal(counts, torch.bincount(used, minlength=9))
        for other in parts[1:]:
            torch.testing.assert_close(other, parts[0], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_update_adds_in_the_order_of_the_rows(dtype):
    x, mask = normal(333, 35).to(dtype), normal(333) > 0
    indices = torch.randint(-1, 7, (333,), generator=torch.Generator().manual_seed(0))
    counts, sums = torch.ops.fastbrain.vq_update_cpu(x, indices, mask, 7)
    expected = torch.zeros(7, 35)
    for row in mask.nonzero()[:, 0].tolist():
        if indices[row] >= 0:
            expected[indices[row]] += x[row].float()
    assert torch.equal(sums, expected)
    assert torch.equal(counts, torch.bincount(indices[mask & (indices >= 0)], minlength=7))


def test_a_stale_codebook_is_refused():
    state = VQState.from_codebook(normal(7, 5))
    x, packed = normal(9, 5), pack_codebook(state.codebook)
    indices = vq_lookup(x, packed)
    vq_update_(state, x, indices, decay=0.5)
    with pytest.raises(InputError, match="Pack it again"):
        vq_lookup(x, packed)
    assert vq_lookup(x, pack_codebook(state.codebook)).shape == (9,)


def test_a_codebook_of_inference_mode_is_never_stale():
    with torch.inference_mode():
        codebook = normal(7, 5)
        assert vq_lookup(codebook, pack_codebook(codebook)).tolist() == list(range(7))


X, CODEBOOK = normal(9, 5), normal(7, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack_codebook(CODEBOOK * torch.nan), "pack_codebook: codebook must be finite"),
        (lambda: pack_codebook(CODEBOOK[0]), "codebook must have shape"),
        (lambda: pack_codebook(CODEBOOK[:0]), "codebook must hold a code"),
        (lambda: pack_codebook(CODEBOOK.long()), "codebook must have dtype"),
        (lambda: pack_codebook(CODEBOOK, metric="dot"), "metric must be"),
        (lambda: vq_lookup(X, pack_codebook(CODEBOOK), metric="cosine"), "metric must be the one"),
        (lambda: vq_lookup(X[:, 1:], pack_codebook(CODEBOOK)), "codebook must have shape"),
        (lambda: vq_lookup(X.half(), pack_codebook(CODEBOOK)), "codebook must have the dtype"),
        (lambda: vq_lookup(X, "codes"), "codebook must be a torch.Tensor"),
    ],
)
def test_packed_codebooks_keep_the_contract(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_packing_and_looking_up_compile_to_one_graph():
    torch._dynamo.reset()

    def both(x, codebook, packed):
        return vq_lookup(x, pack_codebook(codebook)), vq_lookup(x, packed)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    expected = vq_lookup(X, CODEBOOK)
    for got in compiled(X, CODEBOOK, pack_codebook(CODEBOOK)):
        assert torch.equal(got, expected)


def test_no_recompilation_over_batch_sizes():
    torch._dynamo.reset()
    graphs = []

    def count(graph, _inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(vq_lookup, fullgraph=True, dynamic=True, backend=count)
    for rows in (2, 3, 5, 7, 11):
        x = normal(rows, 5)
        assert torch.equal(compiled(x, CODEBOOK), vq_lookup(x, CODEBOOK))
    assert len(graphs) == 1


@pytest.mark.parametrize("x", [X, X.half(), normal(5, 9).T, normal(2, 3, 5)[:, 1:]])
def test_registered_operators_keep_their_schema(x):
    mask, indices = normal(*x.shape[:-1]) > 0, torch.ones(x.shape[:-1], dtype=torch.int64)
    operators = torch.ops.fastbrain
    for euclidean, masked in itertools.product((True, False), (mask, None)):
        panels = operators.vq_pack_cpu(CODEBOOK, euclidean)
        for codes in (CODEBOOK, panels, CODEBOOK.T.contiguous().T):
            torch.library.opcheck(
                operators.vq_lookup_cpu.default, (x, masked, codes, euclidean, len(CODEBOOK))
            )
        torch.library.opcheck(operators.vq_update_cpu.default, (x, indices, masked, 7))
        torch.library.opcheck(operators.vq_pack_cpu.default, (CODEBOOK.T.contiguous().T, euclidean))
        if BACKEND == "triton":
            codes, weights = CODEBOOK.to(x.dtype), CODEBOOK.square().sum(1)
            torch.library.opcheck(
                operators.vq_lookup_triton.default, (x, masked, codes, weights, not euclidean)
            )
            bounds = torch.tensor([0, 1, 1]), torch.tensor([1, 1, 3])
            for order in (None, torch.tensor([2, 0, 1])):
                rows = x.reshape(-1, x.shape[-1])
                torch.library.opcheck(operators.vq_update_triton.default, (rows, order, *bounds))


def test_autocast_may_mix_precisions():
    x = normal(9, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(vq_lookup(x, CODEBOOK, backend=BACKEND), vq_lookup(x.float(), CODEBOOK))


def test_indices_have_no_gradient():
    x, codebook = normal(9, 5).requires_grad_(), CODEBOOK.clone().requires_grad_()
    assert not vq_lookup(x, codebook, backend=BACKEND).requires_grad
    vq_update_(VQState.from_codebook(codebook), x, vq_lookup(x, codebook), decay=0.5)
