"""The streaming backends of neighbourhood clustering: numbers, refusals, registration."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interpreted import interpreted
from neighborhoods import VARIANTS, errors, inputs, outcome, truth
from processors import COMPILED, HELPERS, other_isas, printed_with, slow

from fastbrain.errors import BackendError, InputError
from fastbrain.ops import explain, neighborhood_clustering
from fastbrain.ops._selftest import SLACK

# relative error of float32 sums in another order, as in the cases of the op
REORDERED = 3e-6
# of exponentials of logits up to 50, which amplify it
WARM = 1e-5


# similarities are kept up to 1.5 million; the last three shapes stream them
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize(
    "shape",
    [
        *((1, 3, 5, 7), (3, 1, 113, 1021), (33, 5, 1, 16), (64, 20, 2003, 256)),
        *((64, 10, 100_003, 24), (257, 10, 7001, 63), (100, 180, 20_011, 300)),
    ],
    ids=str,
)
def test_is_as_near_to_float64_as_eager(shape, temperature, variant):
    if variant == "paper" and shape[2] == 1:
        shape = (1, *shape[1:])
    features, prototypes, memory, indices = inputs(min(shape[0], shape[2]), *shape[1:])
    memory[len(memory) // 3] = 0
    options = {"temperature": temperature, "variant": variant}
    expected = truth(features, prototypes, memory, indices, **options)
    plain = outcome(features, prototypes, memory, indices, backend="reference", **options)
    got = outcome(features, prototypes, memory, indices, **options)
    allowed = [SLACK * error + REORDERED for error in errors(plain, expected)]
    assert all(e <= a for e, a in zip(errors(got, expected), allowed, strict=True))
    with torch.no_grad():
        value = neighborhood_clustering(
            features, prototypes, memory, indices, backend="cpu", **options
        )
    assert errors([value], expected[:1])[0] <= allowed[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_equal_to_its_own_entry_is_masked_not_subtracted(variant):
    features, prototypes, memory, indices = inputs(64, 10, 40_000, 32)
    memory[indices] = features.detach()
    options = {"temperature": 0.02, "variant": variant}
    expected = truth(features, prototypes, memory, indices, **options)
    got = outcome(features, prototypes, memory, indices, **options)
    assert max(errors(got, expected)) <= WARM


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_visited_row(variant):
    features, prototypes, memory, indices = inputs(5, 4, 3001, 33)
    memory[:2000] = 0
    memory[2001:] = 0
    options = {"temperature": 0.1, "variant": variant}
    expected = truth(features, prototypes, memory, indices, **options)
    got = outcome(features, prototypes, memory, indices, **options)
    assert max(errors(got, expected)) <= REORDERED


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_memory_in_half_precision(backend, dtype, variant):
    features, prototypes, memory, indices = inputs(9, 4, 501, 67)
    memory[3] = 0
    options = {"temperature": 0.05, "variant": variant}
    memory = memory.to(dtype)
    expected = truth(features, prototypes, memory, indices, **options)
    got = outcome(features, prototypes, memory, indices, backend=backend, **options)
    # rounding float32 features to the memory's precision would give a hundred times as much
    assert max(errors(got, expected)) <= 5e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_views(variant):
    features, prototypes, memory, indices = inputs(9, 4, 501, 66)
    options = {"temperature": 0.05, "variant": variant}
    plain = outcome(features, prototypes, memory, indices, **options)
    padded = torch.full((502, 70), torch.nan)
    padded[1:, 2:68] = memory
    spread = torch.stack([indices, indices], dim=1)[:, 0]
    for view in (padded[1:, 2:68], memory.T.contiguous().T):
        got = outcome(features, prototypes, view, spread, **options)
        assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_do_not_change_a_bit(variant, threads):
    arguments = inputs(64, 20, 30_011, 40)
    results = []
    for count in (1, 2, 3):
        threads(count)
        results.append(outcome(*arguments, variant=variant))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_only_what_needs_a_gradient_gets_one():
    features, prototypes, memory, indices = inputs(4, 3, 50, 8)
    options = {"temperature": 0.5, "variant": "paper", "backend": "cpu"}
    loss = neighborhood_clustering(features.detach(), prototypes, memory, indices, **options)
    loss.backward()
    both = outcome(features, prototypes, memory, indices, **options)
    assert torch.equal(prototypes.grad, both[2])
    frozen = neighborhood_clustering(
        features.detach(), prototypes.detach(), memory, indices, **options
    )
    assert not frozen.requires_grad
    assert torch.equal(frozen, both[0])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("value", [2.0, 0.5, torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_of_another_norm_is_refused_and_named(dtype, value, backend):
    *rows, indices = inputs(4, 3, 5000, 20)
    features, prototypes, memory = (t.to(dtype) for t in rows)
    memory[4321] *= value
    with pytest.raises(InputError, match=r"memory must have rows of norm 1 or 0.*row 4321"):
        neighborhood_clustering(
            *(features, prototypes, memory, indices),
            temperature=0.5,
            variant="paper",
            backend=backend,
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"temperature": 0.01}, "1/60 exponentials of cosines over it leave float32"),
        ({"temperature": 0.001, "dtype": torch.float64}, "1/600 exponentials .* leave float64"),
    ],
)
def test_cpu_backend_says_what_it_cannot(change, reason):
    arguments = inputs(4, 3, 50, 20)
    arguments = [t.to(change.get("dtype", t.dtype)) for t in arguments[:3]] + [arguments[3]]
    options = {"temperature": change.get("temperature", 0.05), "variant": "paper"}
    assert explain("neighborhood_clustering", *arguments, **options).chosen == "reference"
    with pytest.raises(BackendError, match=reason):
        neighborhood_clustering(*arguments, backend="cpu", **options)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_registered_operator_keeps_its_schema(dtype, eps, grad):
    *rows, indices = inputs(4, 3, 50, 20)
    features, prototypes, memory = (t.to(dtype) for t in rows)
    others = torch.cat([prototypes, features]).detach()
    args = (features.detach(), others, memory, indices, 0.05, eps, 3, grad)
    torch.library.opcheck(torch.ops.fastbrain.neighborhood_clustering_cpu.default, args)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_recompilation_over_batch_sizes(variant):
    torch._dynamo.reset()
    graphs = []

    def count(graph, _inputs):
        graphs.append(graph)
        return graph

    function = torch.compile(neighborhood_clustering, fullgraph=True, dynamic=True, backend=count)
    options = {"temperature": 0.05, "variant": variant}
    for batch in (2, 3, 5, 7, 11):
        arguments = [t.detach() for t in inputs(batch, 3, 50, 20)]
        got = function(*arguments, **options)
        torch.testing.assert_close(got, neighborhood_clustering(*arguments, **options))
    assert len(graphs) == 1


OF_AN_ISA = """
from test_neighborhood_streaming import *
for variant in VARIANTS:
    for shape in ((64, 10, 30_011, 33), (36, 10, 1009, 300)):
        arguments = inputs(*shape)
        print(*errors(outcome(*arguments, variant=variant), truth(*arguments, variant=variant)))
"""


@pytest.mark.parametrize("isa", slow(other_isas(COMPILED["neighborhood"])))
def test_instruction_sets_stream_and_keep(isa):
    found = printed_with(isa, OF_AN_ISA, Path(__file__).parent).split()
    # the value and two gradients of each variant and shape
    assert len(found) == 3 * 2 * len(VARIANTS)
    assert max(map(float, found)) <= REORDERED


# of float32 features and memory alike there is one case, of each half precision there are two
HALF = """
from test_neighborhood_streaming import *
for variant in VARIANTS:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for width in (40, 300):
            features, prototypes, memory, indices = inputs(9, 4, 301, width)
            memory[3] = 0
            for kind in dict.fromkeys((torch.float32, dtype)):
                rows = features.detach().to(kind).requires_grad_()
                arguments = rows, prototypes, memory.to(dtype), indices
                got = outcome(*arguments, backend="triton", variant=variant)
                # float32 features are multiplied in float32, whatever the memory is
                unit = REORDERED if kind == torch.float32 else torch.finfo(dtype).eps
                print(*(e / unit for e in errors(got, truth(*arguments, variant=variant))))
memory[7] *= 2
got = outcome(features, prototypes, memory, indices, backend="triton", variant=variant)
assert got[0].isnan()
"""


@pytest.mark.slow
def test_interpreted_triton_reads_half_precision():
    pytest.importorskip("triton", reason="triton is not installed")
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HELPERS)!r})\n{HALF}"],
        cwd=Path(__file__).parent,
        env=interpreted(),
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = ran.stdout.split()
    # of each variant and width: the value and two gradients of five pairs of precisions
    assert len(found) == len(VARIANTS) * 2 * 3 * 5
    # of half-precision features, the gradient's weights are rounded too
    assert max(map(float, found)) <= 1.0
