"""Every Triton kernel without a GPU: interpreted on the CPU, and how it is launched."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interpreted import interpreted

pytest.importorskip("triton", reason="triton is not installed")

import launches
import torch
from launches import BF16, FP16, on_absent_gpu

from fastbrain.kernels import launch as launching
from fastbrain.kernels import lora

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "kernels"
# interpreted cases of each family that must have run, so that none drops out unseen: first, others
INTERPRETED = {"lora": (6, 18), "neighborhood": (1, 16), "voxel_tokenizer": (6, 17), "vq": (4, 13)}
FAMILIES = sorted(INTERPRETED)


@pytest.mark.parametrize("cases", ["first", pytest.param("others", marks=pytest.mark.slow)])
def test_interpreted_kernels_pass_the_selftest(cases):
    script = Path(__file__).parent / "selftest_of.py"
    command = [sys.executable, script, ",".join(FAMILIES), "triton", cases]
    ran = subprocess.run(command, env=interpreted(), capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = [line.split(maxsplit=3) for line in ran.stdout.splitlines()]
    assert [family for family, *_ in rows] == FAMILIES
    assert [row for row in rows if row[3] != "[]"] == []
    for family, count, operators, _ in rows:
        assert int(count) >= INTERPRETED[family][cases != "first"]
        # eager, lora calls its operators as functions; tests/ops/test_lora_gpu.py checks them
        assert int(operators) >= (family != "lora" and cases == "first")


# launches whose sizes change from call to call: one binary must serve all of a row
SIZES = (1, 2, 15, 16, 17, 31, 33, 48, 100, 1000, 1009, 1024)
MANY = (2049, 2064, 4096, 4097, 16_384, 100_003)
# most rows of a lookup whose codes are divided: 128 for each of 132 multiprocessors
FILLING = 128 * 132
VARYING: dict[str, list[Callable[[], Any]]] = {
    "rows of a lookup": [launches.nearest(n, 64, BF16) for n in (*SIZES, *MANY) if n <= FILLING],
    "rows of a lookup that fill a GPU": [
        launches.nearest(n, 64, BF16) for n in (FILLING + 1, 32_256, 100_003)
    ],
    "codes of a lookup": [launches.nearest(64, 64, BF16, codes=n) for n in (*SIZES, *MANY)],
    "rows of a codebook's update": [
        launches.sums(n, 64, BF16, ordered=True) for n in (*SIZES, *MANY)
    ],
    "windows": [launches.tokens(BF16, batch=n) for n in SIZES],
    "windows of volumes": [launches.tokens(BF16, batch=n, packed=False) for n in SIZES],
    "windows of a training step": [launches.tokens(BF16, batch=n, backward=True) for n in SIZES],
    "tokens of a grid": [launches.tokens(BF16, count=n) for n in (*SIZES, *MANY)],
    "voxels of a volume": [
        launches.tokens(BF16, packed=False, shape=(n, 33, 48)) for n in SIZES if n > 2
    ],
    "rows of a decoding step": [launches.layer(n, BF16) for n in range(1, 17)],
    "rows of a layer": [launches.layer(n, BF16) for n in SIZES if 16 < n < 2048],
    "many rows of a layer": [launches.layer(n, BF16) for n in MANY],
    "rows of a layer's gradient": [launches.gradients(n, BF16) for n in MANY],
    "samples of a batch": [launches.clustering(256, FP16, batch=n) for n in SIZES],
    "rows of a memory": [launches.clustering(256, FP16, size=n) for n in (*SIZES, *MANY)],
    "rows of a wide memory": [launches.clustering(768, FP16, size=n) for n in (*MANY, 65_537)],
}


@pytest.mark.parametrize("what", VARYING)
def test_a_size_that_varies_makes_no_new_binary(what):
    keys: dict[str, set[Any]] = {}
    for call in VARYING[what]:
        with on_absent_gpu(90) as found:
            call()
        for launch in found:
            keys.setdefault(launch.kernel, set()).add(launch.key)
    assert keys
    assert {kernel: len(own) for kernel, own in keys.items()} == dict.fromkeys(keys, 1)


class OnSecondGpu(torch.Tensor):
    """A tensor that says it lies on ``cuda:1``."""

    is_cuda = True
    device = torch.device("cuda", 1)


@pytest.mark.parametrize("tensor", ["on a GPU", "on the host"])
def test_a_launch_is_on_the_device_of_its_tensors(tensor, monkeypatch):
    log = []

    class Guard:
        def __init__(self, device: torch.device) -> None:
            self.device = device

        def __enter__(self) -> None:
            log.append(f"enter {self.device}")

        def __exit__(self, *_: object) -> None:
            log.append("leave")

    class Kernel:
        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            return lambda *args, **options: log.append(f"launch {grid} {args[0]} {options}")

    monkeypatch.setattr(torch.cuda, "device", Guard)
    value = torch.zeros(3)
    value = value.as_subclass(OnSecondGpu) if tensor == "on a GPU" else value
    launching.launch(Kernel(), (7,), None, value, BM=16)
    inside = "launch (7,) None {'BM': 16}"
    assert log == (["enter cuda:1", inside, "leave"] if tensor == "on a GPU" else [inside])


@pytest.mark.parametrize("offset", [0, 1])
def test_tensor_descriptors_are_made_of_aligned_addresses_only(offset, monkeypatch):
    """A view that begins within 16 bytes is contiguous, but TMA cannot read it."""

    def persistent(kernel, shape, found, like):
        return next((c for c in found if c.variant == "persistent"), found[0])

    monkeypatch.setattr(lora.tables, "choose", persistent)

    def tensor(*shape):
        return torch.empty(offset + shape[0] * shape[1], dtype=BF16, device="meta")[offset:].view(
            shape
        )

    with on_absent_gpu(90) as log:
        lora.wide(
            tensor(64, 32),
            tensor(48, 32),
            None,
            tensor(64, 8),
            tensor(48, 8),
            1.0,
            "",
            by_rows=True,
        )
    (launched,) = log
    kind = "wide" if offset else "persistent"
    assert launched.kernel == f"lora_linear_{kind}_kernel"


def test_no_kernel_is_launched_without_the_guard():
    backends = list((ROOT / "fastbrain" / "ops").rglob("*triton*.py"))
    assert {path.parent.name for path in backends} >= set(FAMILIES)
    sources = [*KERNELS.glob("*.py"), *backends]
    bare = [
        f"{path.name}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript)
    ]
    # the guard itself launches on both sides of its question
    assert {place.split(":")[0] for place in bare} == {"launch.py"}


BEYOND = """
import ctypes, mmap
import numpy as np
import torch
from fastbrain.ops.vq import triton as vq

PAGE = mmap.PAGESIZE
kept = []

def at_the_end(values):
    # the last element lies before a page without read permission
    size = values.numel() * values.element_size()
    area = mmap.mmap(-1, 2 * PAGE)
    kept.append(area)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + PAGE), PAGE, 0) == 0
    held = torch.frombuffer(area, dtype=values.dtype, count=values.numel(), offset=PAGE - size)
    return held.view(values.shape).copy_(values)

def any_column(values, axis, keepdims=False):
    # on a GPU the maximum of a row with NaN may be in any column, so here it is in the last
    found = np.where(np.isnan(values), -np.inf, values).argmax(axis, keepdims=keepdims)
    return np.where(np.isnan(values).any(axis, keepdims=keepdims), values.shape[axis] - 1, found)

np.nanargmax = any_column
torch.manual_seed(0)
for count in (1, 2, 33, 65, 101):
    codes = at_the_end(torch.randn(count, 8))
    weights = at_the_end(codes.square().sum(1) / 2)
    x = torch.randn(5, 8)
    wanted = torch.cdist(x, codes).argmin(1)
    x[1], x[3, 2] = torch.nan, torch.nan
    wanted[1] = wanted[3] = -1
    for cosine in (False, True):
        found = vq._nearest(x, None, codes, weights, cosine)
        assert found.max() < count and found[1] == found[3] == -1, found
    found = vq._nearest(x, None, codes, weights, False)
    assert torch.equal(found, wanted), (found, wanted)
"""


def test_a_row_of_nan_reads_no_code_beyond_the_last_and_gets_none():
    ran = subprocess.run(
        [sys.executable, "-c", BEYOND], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, f"exit {ran.returncode}\n{ran.stderr[-2000:]}"


DIVIDED = """
import torch
from fastbrain.kernels import tables, vq
from fastbrain.kernels.vq_tiles import span_of

torch.manual_seed(0)
base = torch.randn(90, 24)
# each code four times, so that equal codes lie in several shares
codes = base.repeat(4, 1)
x = base[torch.randint(0, 90, (333,))] + 0.01 * torch.randn(333, 24)
mask = torch.ones(333, dtype=torch.bool)
mask[7] = False
divided = 0
for cosine in (False, True):
    left, right = (torch.nn.functional.normalize(t) if cosine else t for t in (x, base))
    wanted = torch.cdist(left, right).argmin(1)
    wanted[7] = -1
    lengths = codes.square().sum(1)
    weights = lengths.rsqrt() if cosine else lengths / 2
    for candidate in vq.candidates(torch.float32, 24):
        for multiprocessors in (1, 12, 132):
            tables.multiprocessors = lambda _: multiprocessors
            with tables.forced("vq_lookup", candidate.name):
                found = vq.nearest(x, codes, weights, mask, cosine=cosine)
            assert torch.equal(found, wanted), (candidate, multiprocessors)
            blocks, tiles = -(-333 // candidate.tile["BM"]), -(-360 // candidate.tile["BN"])
            divided += span_of(blocks, tiles, multiprocessors) is not None
assert divided == 2 * 2 * len(vq.candidates(torch.float32, 24)), divided
"""


def test_divided_codes_give_what_undivided_ones_give():
    ran = subprocess.run(
        [sys.executable, "-c", DIVIDED], env=interpreted(), capture_output=True, text=True
    )
    assert ran.returncode == 0, f"exit {ran.returncode}\n{ran.stderr[-2000:]}"
