"""Every Triton kernel without a GPU: interpreted on the CPU, and compiled for absent GPUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="triton is not installed")

KERNELS = Path(__file__).parents[2] / "kernels"
FAMILIES = sorted(path.stem for path in KERNELS.glob("*.py") if path.stem != "variant")
# shared memory of one block, bytes (CUDA programming guide, technical specifications)
SHARED = {80: 166_912, 90: 232_448, 100: 232_448}
# interpreted cases of each family that must have run, so that none drops out unseen
INTERPRETED = {"lora": 54, "neighborhood": 7, "voxel_tokenizer": 51, "vq": 37}


@pytest.mark.parametrize("family", FAMILIES)
def test_interpreted_kernels_pass_the_selftest(family):
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, Path(__file__).parent / "selftest_of.py", family, "triton"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    count, operators, failed = ran.stdout.split(maxsplit=2)
    assert int(count) >= INTERPRETED[family]
    # eager, lora calls its operators as functions; tests/ops/test_lora_gpu.py checks them
    assert int(operators) >= (family != "lora")
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


VARIANTS = [
    pytest.param(variant, arch, id=f"{family}-{name}-sm_{arch}")
    for family in FAMILIES
    for name, variant in import_module(f"fastbrain.kernels.{family}").variants().items()
    for arch in SHARED
]


@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize(("variant", "arch"), VARIANTS)
def test_compiles_without_a_gpu(variant, arch, tmp_path):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    arguments = variant.arguments
    constants = {k: v for k, v in arguments.items() if not isinstance(v, str)}
    signature = {k: v if isinstance(v, str) else "constexpr" for k, v in arguments.items()}
    aligned = [
        i
        for i, (name, kind) in enumerate(signature.items())
        if kind.startswith("*") or name in variant.aligned
    ]
    source = ASTSource(
        fn=variant.kernel,
        signature=signature,
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    options = {"num_warps": variant.num_warps, "num_stages": variant.num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    assert compiled.metadata.shared <= SHARED[arch]
    ptx = compiled.asm["ptx"]
    tensor_cores = re.search(r"wgmma\.mma|mma\.sync|tcgen05\.mma", ptx)
    assert (tensor_cores is not None) == variant.tensor_cores
    assert compiled.asm["cubin"]
    assert spilled_bytes(ptx, tmp_path) == 0
