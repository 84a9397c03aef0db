"""The Triton kernel without a GPU: interpreted on the CPU, and compiled for absent GPUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="triton is not installed")

SELFTEST = """
import torch
torch.set_num_threads(1)
from fastbrain.ops._selftest import run_selftest
rows = list(run_selftest(["triton"], device="cpu"))
print(len(rows), [row for row in rows if not row.passed])
"""

# shared memory of one block, bytes (CUDA programming guide, technical specifications)
SHARED = {80: 166_912, 90: 232_448, 100: 232_448}
POINTERS = ("volumes", "weight", "bias", "offsets", "mean", "inv_std", "out")
FLAGS = ("PACKED", "HAS_BIAS", "HAS_MEAN", "MEAN_PACKED", "HAS_INV_STD", "INV_STD_PACKED", "EXACT")


def test_interpreted_kernel_passes_the_selftest():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", SELFTEST], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    count, failed = ran.stdout.split(maxsplit=1)
    assert int(count) >= 42
    assert failed.strip() == "[]"


def spilled_bytes(ptx: str, folder: Path) -> int:
    """Bytes of registers that the assembler had to keep in memory, per thread."""
    from triton import knobs

    path = folder / "kernel.ptx"
    path.write_text(ptx)
    target = re.search(r"\.target (\w+)", ptx).group(1)
    # the newer of the two assemblers that triton brings reads the older PTX as well
    assembler = knobs.nvidia.ptxas_blackwell.path
    command = [assembler, "-v", f"--gpu-name={target}", path, "-o", folder / "kernel.cubin"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    log = ran.stderr
    return sum(int(n) for n in re.findall(r"(\d+) bytes spill", log))


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize(
    ("arch", "dtype", "packed", "statistics"),
    [
        (80, torch.bfloat16, False, True),
        (90, torch.bfloat16, False, True),
        (90, torch.bfloat16, True, True),
        (90, torch.float16, True, False),
        (90, torch.float32, True, True),
        (100, torch.bfloat16, True, True),
    ],
    ids=str,
)
def test_compiles_without_a_gpu(arch, dtype, packed, statistics, tmp_path):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fastbrain.kernels import voxel_tokenizer as kernels

    tile = kernels.blocks(dtype, 512)
    stages = {name: tile.pop(name) for name in ("num_warps", "num_stages")}
    exact = dtype == torch.float32
    value = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
    types = {"volumes": "*i16", "offsets": "*i32", "mean": "*fp32", "inv_std": "*fp32"}
    signature = {name: types.get(name, f"*{value}") for name in POINTERS}
    signature |= {"scale": "fp32"}
    sizes = ("samples", "tokens", "patch", "frames", "voxels", "features")
    signature |= dict.fromkeys(sizes, "i32")
    constants: dict[str, object] = dict(
        zip(FLAGS, (packed, True, statistics, packed, statistics, packed, exact), strict=True)
    )
    constants |= tile
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        fn=kernels._forward,
        signature=signature,
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in range(len(POINTERS))},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=stages)
    assert compiled.metadata.shared <= SHARED[arch]
    ptx = compiled.asm["ptx"]
    tensor_cores = re.search(r"wgmma\.mma|mma\.sync|tcgen05\.mma", ptx)
    # float32 is multiplied exactly, which tensor cores cannot
    assert (tensor_cores is None) == exact
    assert compiled.asm["cubin"]
    assert spilled_bytes(ptx, tmp_path) == 0
