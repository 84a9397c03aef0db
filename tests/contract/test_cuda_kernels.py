"""Every CUDA kernel without a GPU: what nvcc made for each target, and its run on host memory."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from assembler import resources, usage
from compile_record_cuda import RECORD, SHOWN, plain, table

from fastbrain import _native

ROOT = Path(__file__).parents[2]
# emulated cases of each family that must have run, so that none drops out unseen: first, others
EMULATED = {
    "lora": (3, 4),
    "neighborhood": (1, 5),
    "voxel_tokenizer": (6, 17),
    "vq": (3, 5),
}


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_the_installed_kernels_keep_their_values_in_registers(arch):
    if not _native.cuda_compiled() or _native.cuda_emulated():
        pytest.skip("the extension was built without CUDA")
    knobs = pytest.importorskip("triton.knobs", reason="triton brings the disassembler")
    command = [knobs.nvidia.cuobjdump.path, "-res-usage", _native.__file__]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = resources(log)
    if arch == 100 and arch not in used:
        pytest.skip("the compiler that built the extension does not know sm_100")
    assert set(used[arch]) == set(used[80])
    assert len(used[arch]) >= 30
    assert [name for name, kept in used[arch].items() if kept != (0, 0)] == []


def test_the_installed_kernels_are_those_of_the_record():
    if not _native.cuda_compiled() or _native.cuda_emulated():
        pytest.skip("the extension was built without CUDA")
    if shutil.which("c++filt") is None or shutil.which("nvcc") is None:
        pytest.skip("there is no c++filt to read names, or no nvcc to ask for its version")
    knobs = pytest.importorskip("triton.knobs", reason="triton brings the disassembler")
    command = [knobs.nvidia.cuobjdump.path, "-res-usage", _native.__file__]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    version = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    record = json.loads(RECORD.read_text())
    remedy = "If this is meant, run python tests/contract/compile_record.py cuda"
    for arch, kernels in usage(log).items():
        names = plain([*kernels])
        assert {*names.values()} == {*record["kernels"]}, remedy
        if f"release {record['nvcc']}," not in version:
            continue
        for name, kept in kernels.items():
            # a build for another GPU has other targets
            if row := record["kernels"][names[name]].get(str(arch)):
                found = kept["REG"], kept["SHARED"]
                assert found == (row["registers"], row["shared"]), f"{names[name]}: {remedy}"


def test_the_page_has_the_recorded_cuda_kernels():
    page = (ROOT / "docs" / "kernels.md").read_text()
    shown = re.search("cuda kernels: begin -->\n(.*)<!-- cuda kernels: end", page, re.DOTALL)
    record = json.loads(RECORD.read_text())
    assert shown[1] == table(record)
    families = {re.match(r"\w+", call)[0] for call in SHOWN}
    assert families == {*EMULATED}
    # products of half precision run on tensor cores, all others do not
    for name, archs in record["kernels"].items():
        half = name.endswith("bf16>") or name.endswith("fp16>")
        expected = "TensorCores" in name or (name.startswith("voxel_tokenizer") and half)
        assert [a for a, row in archs.items() if bool(row["mma"]) != expected] == [], name


@pytest.fixture(scope="session")
def emulated(shared_by_workers) -> Path:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    sys.path.insert(0, str(ROOT / "tests" / "cuda_host"))
    from build import build

    return shared_by_workers("emulated", build)


@pytest.mark.parametrize("cases", ["first", pytest.param("others", marks=pytest.mark.slow)])
def test_emulated_kernels_pass_the_selftest(cases, emulated):
    script = Path(__file__).parent / "selftest_of.py"
    command = [sys.executable, script, ",".join(EMULATED), "cuda", cases, emulated]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split(maxsplit=3) for line in ran.stdout.splitlines()]
    assert [family for family, *_ in rows] == list(EMULATED)
    assert [row for row in rows if row[3] != "[]"] == []
    for family, count, operators, _ in rows:
        assert int(count) >= EMULATED[family][cases != "first"]
        assert int(operators) >= (cases == "first")


NAN_ROWS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from build import install
install(Path(sys.argv[2]))
import torch
from fastbrain.ops.vq import cuda
torch.manual_seed(0)
for count in (1, 33, 101):
    x, codes = torch.randn(9, 8), torch.randn(count, 8)
    wanted = torch.cdist(x, codes).argmin(1)
    x[1], x[8, 2] = torch.nan, torch.nan
    wanted[1] = wanted[8] = -1
    found = cuda._nearest(x, None, codes, codes.square().sum(1) / 2, False)
    assert torch.equal(found, wanted), (found, wanted)
"""


def test_no_code_is_nearest_to_a_row_of_nan(emulated):
    folder = ROOT / "tests" / "cuda_host"
    command = [sys.executable, "-c", NAN_ROWS, folder, emulated]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]


# every dtype, rows that are and are not aligned, more prototypes than a tile, a strided memory,
# rows of another norm than 0 or 1, and as many samples as the kernel takes
NEIGHBORHOODS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from build import install
install(Path(sys.argv[2]))
import torch
import torch.nn.functional as F
from fastbrain.ops import neighborhood_clustering

torch.manual_seed(0)
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16

def unit(rows, width, dtype):
    return F.normalize(torch.randn(rows, width, dtype=torch.float64), dim=1).to(dtype)

def outcome(backend, dtype, features, prototypes, *fixed, **options):
    leaves = [t.to(dtype or t.dtype).requires_grad_() for t in (features, prototypes)]
    fixed = [t if t.dtype == torch.int64 else t.to(dtype or t.dtype) for t in fixed]
    value = neighborhood_clustering(*leaves, *fixed, **options, backend=backend)
    return [value.detach(), *torch.autograd.grad(value, leaves)]

for of_features, of_memory, sizes in (
    (F16, F16, (37, 10, 210, 72)),
    (BF16, BF16, (64, 70, 130, 320)),
    (BF16, BF16, (5, 3, 129, 63)),
    (F32, BF16, (64, 70, 200, 320)),
    (F32, F16, (7, 3, 40, 130)),
    (F16, F32, (3, 2, 33, 40)),
):
    batch, classes, size, width = sizes
    features, prototypes = unit(batch, width, of_features), unit(classes, width, of_features)
    # rows that do not follow each other
    memory = torch.cat([unit(size, width, of_memory), torch.zeros(size, 8).to(of_memory)], dim=1)
    memory = memory[:, :width]
    memory[size // 2] = 0
    arguments = features, prototypes, memory, torch.randperm(size - 1)[:batch]
    for variant in ("paper", "dance"):
        options = {"temperature": 0.07, "variant": variant}
        truth = outcome("reference", torch.float64, *arguments, **options)
        pairs = zip(
            outcome("cuda", None, *arguments, **options),
            outcome("reference", None, *arguments, **options),
            truth,
            strict=True,
        )
        for got, plain, true in pairs:
            assert got.dtype == plain.dtype
            error, allowed = ((t.double() - true).norm() / true.norm() for t in (got, plain))
            # the contract's factor, and rounding of the statistics in float32
            assert error <= 1.25 * allowed + 5e-7, (of_features, of_memory, variant, error, allowed)
    memory[-1] *= 3
    assert neighborhood_clustering(*arguments, **options, backend="cuda").isnan()
"""


def test_neighborhoods_of_every_dtype_are_as_exact_as_the_reference(emulated):
    folder = ROOT / "tests" / "cuda_host"
    command = [sys.executable, "-c", NEIGHBORHOODS, folder, emulated]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
