"""Every CUDA kernel without a GPU: compiled by nvcc for each target, and run on host memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from assembler import in_local_memory

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for path in (ROOT / "csrc").glob("*.cu"))
NVCC = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
# emulated cases of each family that must have run, so that none drops out unseen


def slow(value: object) -> object:
    return pytest.param(value, marks=pytest.mark.slow)


EMULATED = {"lora": 15, "voxel_tokenizer": 51, "vq": 18}


@pytest.mark.skipif(NVCC is None, reason="nvcc is not installed: nothing compiles CUDA here")
@pytest.mark.parametrize("arch", [slow(80), 90, slow(100)])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_compiles_within_registers(source, arch, tmp_path):
    command = [NVCC, "-std=c++20", f"-arch=sm_{arch}", "-Xptxas", "-v", "-c", source]
    ran = subprocess.run([*command, "-o", tmp_path / "kernel.o"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert in_local_memory(ran.stderr) == []


@pytest.fixture(scope="session")
def emulated(tmp_path_factory) -> Path:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    sys.path.insert(0, str(ROOT / "tests" / "cuda_host"))
    from build import build

    return build(tmp_path_factory.mktemp("emulated"))


@pytest.mark.parametrize("cases", ["first", slow("all")])
@pytest.mark.parametrize("family", EMULATED)
def test_emulated_kernels_pass_the_selftest(family, cases, emulated):
    script = Path(__file__).parent / "selftest_of.py"
    command = [sys.executable, script, family, "cuda", cases, emulated]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    count, operators, failed = ran.stdout.split(maxsplit=2)
    assert int(count) >= (EMULATED[family] if cases == "all" else 1)
    assert int(operators) >= 1
    assert failed.strip() == "[]"


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
