"""The streaming backends of neighbourhood clustering: numbers, refusals, memory, registration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from interpreted import interpreted
from processors import ISAS

from fastbrain.errors import BackendError, InputError
from fastbrain.ops import explain, neighborhood_clustering

# a child imports this module, and what this module imports
HERE = Path(__file__).parent
HELPERS = str(HERE.parent / "helpers")

VARIANTS = ["paper", "dance"]


def inputs(batch, classes, size, width, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def unit(rows):
        return F.normalize(torch.randn(rows, width, generator=generator), dim=1)

    indices = torch.randperm(size, generator=generator)[:batch]
    return unit(batch).requires_grad_(), unit(classes).requires_grad_(), unit(size), indices


def outcome(features, prototypes, memory, indices, backend, **options):
    value = neighborhood_clustering(
        features, prototypes, memory, indices, backend=backend, **options
    )
    return [value.detach(), *torch.autograd.grad(value, (features, prototypes))]


def truth(features, prototypes, memory, indices, **options):
    wide = [t.detach().double().requires_grad_() for t in (features, prototypes)]
    return outcome(*wide, memory.double(), indices, "reference", **options)


def errors(got, expected):
    return [float((g.double() - t).norm() / t.norm()) for g, t in zip(got, expected, strict=True)]


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
    plain = outcome(features, prototypes, memory, indices, "reference", **options)
    got = outcome(features, prototypes, memory, indices, "cpu", **options)
    allowed = errors(plain, expected)
    assert all(e <= 1.25 * a + 3e-6 for e, a in zip(errors(got, expected), allowed, strict=True))
    with torch.no_grad():
        value = neighborhood_clustering(
            features, prototypes, memory, indices, backend="cpu", **options
        )
    assert errors([value], expected[:1])[0] <= 1.25 * allowed[0] + 3e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_equal_to_its_own_entry_is_masked_not_subtracted(variant):
    features, prototypes, memory, indices = inputs(64, 10, 40_000, 32)
    memory[indices] = features.detach()
    options = {"temperature": 0.02, "variant": variant}
    expected = truth(features, prototypes, memory, indices, **options)
    got = outcome(features, prototypes, memory, indices, "cpu", **options)
    assert max(errors(got, expected)) <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_visited_row(variant):
    features, prototypes, memory, indices = inputs(5, 4, 3001, 33)
    memory[:2000] = 0
    memory[2001:] = 0
    options = {"temperature": 0.1, "variant": variant}
    expected = truth(features, prototypes, memory, indices, **options)
    assert max(
        errors(outcome(features, prototypes, memory, indices, "cpu", **options), expected)
    ) <= (3e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_memory_in_half_precision(backend, dtype, variant):
    features, prototypes, memory, indices = inputs(9, 4, 501, 67)
    memory[3] = 0
    options = {"temperature": 0.05, "variant": variant}
    memory = memory.to(dtype)
    expected = truth(features, prototypes, memory, indices, **options)
    got = outcome(features, prototypes, memory, indices, backend, **options)
    assert max(errors(got, expected)) <= 5e-6


@pytest.mark.parametrize("variant", VARIANTS)
def test_views(variant):
    features, prototypes, memory, indices = inputs(9, 4, 501, 66)
    options = {"temperature": 0.05, "variant": variant}
    plain = outcome(features, prototypes, memory, indices, "cpu", **options)
    padded = torch.full((502, 70), torch.nan)
    padded[1:, 2:68] = memory
    spread = torch.stack([indices, indices], dim=1)[:, 0]
    for view in (padded[1:, 2:68], memory.T.contiguous().T):
        got = outcome(features, prototypes, view, spread, "cpu", **options)
        assert all(torch.equal(a, b) for a, b in zip(got, plain, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_do_not_change_a_bit(variant):
    arguments = inputs(64, 20, 30_011, 40)
    threads = torch.get_num_threads()
    options = {"temperature": 0.05, "variant": variant}
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(outcome(*arguments, "cpu", **options))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_only_what_needs_a_gradient_gets_one():
    features, prototypes, memory, indices = inputs(4, 3, 50, 8)
    options = {"temperature": 0.5, "variant": "paper", "backend": "cpu"}
    loss = neighborhood_clustering(features.detach(), prototypes, memory, indices, **options)
    loss.backward()
    both = outcome(features, prototypes, memory, indices, "cpu", temperature=0.5, variant="paper")
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


PEAK = """
import re, sys, torch
from fastbrain.ops import neighborhood_clustering
torch.set_num_threads(2)
def status(name):
    return int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
def rows(count):
    return torch.nn.functional.normalize(torch.randn(count, 32), dim=1)
size = int(sys.argv[1])
memory, features, prototypes = rows(size), rows(64).requires_grad_(), rows(10)
options = {"temperature": 0.05, "variant": sys.argv[2], "backend": "cpu"}
def step(memory):
    neighborhood_clustering(features, prototypes, memory, torch.arange(64), **options).backward()
step(memory[:64])
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
step(memory)
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
@pytest.mark.parametrize("variant", VARIANTS)
def test_peak_memory_does_not_follow_the_memory(variant):
    peaks = []
    for size in (100_000, 400_000):
        command = [sys.executable, "-c", PEAK, str(size), variant]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(ran.stdout))
    assert peaks[1] <= 1.1 * peaks[0] + (1 << 20)
    assert peaks[1] <= 0.05 * 64 * 400_010 * 4


ISA = """
from test_neighborhood_streaming import *
for variant in VARIANTS:
    for shape in ((64, 10, 30_011, 33), (36, 10, 1009, 300)):
        arguments = inputs(*shape)
        options = {"temperature": 0.05, "variant": variant}
        print(*errors(outcome(*arguments, "cpu", **options), truth(*arguments, **options)))
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets_stream_and_keep(isa):
    ran = child(ISA, {**os.environ, "FASTBRAIN_ISA": isa})
    assert max(map(float, ran.split())) <= 3e-6


HALF = """
from test_neighborhood_streaming import *
for variant in VARIANTS:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for width in (40, 300):
            features, prototypes, memory, indices = inputs(9, 4, 301, width)
            memory[3] = 0
            options = {"temperature": 0.05, "variant": variant}
            for rows in (features, features.detach().to(dtype).requires_grad_()):
                arguments = rows, prototypes, memory.to(dtype), indices
                got = outcome(*arguments, "triton", **options)
                # float32 features are multiplied in float32, whatever the memory is
                unit = 3e-6 if rows.dtype == torch.float32 else torch.finfo(dtype).eps
                print(*(e / unit for e in errors(got, truth(*arguments, **options))))
memory[7] *= 2
assert outcome(features, prototypes, memory, indices, "triton", **options)[0].isnan()
"""


@pytest.mark.slow
def test_interpreted_triton_reads_half_precision():
    pytest.importorskip("triton", reason="triton is not installed")
    # of half-precision features, the gradient's weights are rounded too
    assert max(map(float, child(HALF, interpreted()).split())) <= 1.0


def child(code, environment):
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {HELPERS!r})\n{code}"],
        cwd=HERE,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


MILLION = """
import torch
import torch.nn.functional as F
from fastbrain.ops import neighborhood_clustering

def mebibytes(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024

torch.set_num_threads(1)
batch, classes, size, width = 64, 180, 1_000_000, 64
features = F.normalize(torch.randn(batch, width), dim=1).requires_grad_()
prototypes = F.normalize(torch.randn(classes, width), dim=1).requires_grad_()
memory = F.normalize(torch.randn(4096, width), dim=1)[torch.arange(size) % 4096]
rows = torch.arange(batch)

def step(pool, variant):
    loss = neighborhood_clustering(
        features, prototypes, pool, rows, temperature=0.05, variant=variant, backend="cpu"
    )
    torch.autograd.grad(loss, (features, prototypes))

for variant in ("paper", "dance"):
    step(memory[:64], variant)
    # the high-water mark begins anew
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = mebibytes("VmRSS")
    step(memory, variant)
    print((mebibytes("VmHWM") - before) / (batch * (size + classes) * 4 / 2**20))
"""


@pytest.mark.slow
def test_a_million_rows_need_little_memory():
    """At most 5 % of what the similarities would take."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the high-water mark of memory cannot be reset here")
    ran = subprocess.run([sys.executable, "-c", MILLION], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    shares = [float(line) for line in ran.stdout.split()]
    assert len(shares) == 2
    assert max(shares) <= 0.05
