"""Launches as production makes them, on tensors without memory, and what Triton makes of them.

A kernel is compiled for the types of its arguments and for what their values divide by, so a check
without a GPU has to go through the very calls that a training run or a session makes. Here they go
through the backends of ``fastbrain.ops`` on meta tensors, up to the point where Triton would start
the kernel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from fastbrain.kernels import tables
from fastbrain.ops.lora import triton as lora
from fastbrain.ops.lora.products import AdaptedLayer
from fastbrain.ops.neighborhood import triton as neighborhood
from fastbrain.ops.neighborhood import triton_rows as neighborhood_rows
from fastbrain.ops.voxel_tokenizer import triton as voxel_tokenizer
from fastbrain.ops.voxel_tokenizer.checks import StoredValues
from fastbrain.ops.vq import triton as vq

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
I16, I32, I64 = torch.int16, torch.int32, torch.int64
# the first candidate that reads rows wider than 256 without products of PyTorch
SWEEP = "sweep-BB64-BN64-BK64-w4-s3"


def meta(*shape: int, dtype: torch.dtype = FP32) -> Tensor:
    """A tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def nearest(
    rows: int, width: int, dtype: torch.dtype, *, codes: int = 8192, cosine: bool = False
) -> Callable[[], Any]:
    """A lookup of `rows` rows, the mask that training has included."""
    x, book = meta(rows, width, dtype=dtype), meta(codes, width, dtype=dtype)
    mask = meta(rows, dtype=torch.bool)
    return lambda: vq._nearest(x, mask, book, meta(codes), cosine)


def sums(rows: int, width: int, dtype: torch.dtype, *, ordered: bool) -> Callable[[], Any]:
    """Sums of the rows of each code: of the rows themselves, or of their partial sums."""
    bounds = meta(8192, dtype=I64)
    order = meta(rows, dtype=I64) if ordered else None
    return lambda: vq._segment_sums(meta(rows, width, dtype=dtype), order, bounds, bounds)


def tokens(
    dtype: torch.dtype,
    *,
    batch: int = 64,
    count: int = 900,
    edge: int = 8,
    features: int = 768,
    packed: bool = True,
    statistics: bool = True,
    backward: bool = False,
    shape: tuple[int, int, int] = (97, 115, 97),
) -> Callable[[], Any]:
    """Windows of one frame, from whole volumes or from the layout of the store."""
    patch = edge**3
    volumes = meta(batch, 1, *((count, patch) if packed else shape), dtype=I16)
    offsets = meta(count, patch, dtype=I32)
    number = meta(count, patch) if packed else meta(*shape)
    mean = inv_std = number if statistics else None
    values = StoredValues(volumes, offsets, mean, inv_std, 0.5)
    weight, bias = meta(features, 1, edge, edge, edge, dtype=dtype), meta(features, dtype=dtype)
    if backward:
        grad = meta(batch, count, features, dtype=dtype)
        return lambda: voxel_tokenizer._weight_grad(grad, values)
    return lambda: voxel_tokenizer._forward(weight, bias, values)


def layer(
    rows: int,
    dtype: torch.dtype,
    *,
    rank: int = 16,
    d_in: int = 768,
    d_out: int = 3072,
    activation: str = "",
) -> Callable[[], Any]:
    """The forward pass of an adapted layer."""
    x, weight = meta(rows, d_in, dtype=dtype), meta(d_out, d_in, dtype=dtype)
    a, b = meta(rank, d_in, dtype=dtype), meta(d_out, rank, dtype=dtype)
    bias = meta(d_out, dtype=dtype)
    layer = AdaptedLayer(x, weight, bias, [a], [b], [0], 0.5, activation)
    return lambda: lora._forward(layer)


def gradients(
    rows: int, dtype: torch.dtype, *, rank: int = 16, activation: str = ""
) -> Callable[[], Any]:
    """Its backward pass, but for the frozen weight."""
    grad, x, weight = (meta(*s, dtype=dtype) for s in ((rows, 3072), (rows, 768), (3072, 768)))
    a, b, low = (meta(*s, dtype=dtype) for s in ((rank, 768), (3072, rank), (rows, rank)))
    wanted = [True, False, False, True, True]
    layer = AdaptedLayer(x, weight, None, [a], [b], [0], 0.5, activation)
    return lambda: lora._gradients(grad, layer, low, wanted)


def clustering(
    width: int,
    dtype: torch.dtype,
    *,
    batch: int = 64,
    size: int = 21_600,
    dance: bool = False,
    exact: bool = False,
    sweep: bool = False,
) -> Callable[[], Any]:
    """Entropy and its gradient; `exact` with features in float32, `sweep` without products."""
    features, prototypes = meta(batch, width), meta(180, width)
    memory, indices = meta(size, width, dtype=dtype), meta(batch, dtype=I64)
    constants = 0.05, 1e-5 if dance else 0.0, exact, True

    def call() -> Any:
        with tables.forced("neighborhood_sweep", SWEEP) if sweep else nullcontext():
            return neighborhood._entropy(features, prototypes, memory, indices, *constants)

    return call


def memory_rows(width: int, dtype: torch.dtype, momentum: float) -> Callable[[], Any]:
    """New rows of a memory."""
    memory, features, indices = meta(999, width, dtype=dtype), meta(36, width), meta(36, dtype=I64)
    return lambda: neighborhood_rows._update(memory, features, indices, momentum)


def separated(batch: int, classes: int, dtype: torch.dtype) -> Callable[[], Any]:
    """Entropies of classes away from a threshold, and their gradient."""
    logits = meta(batch, classes, dtype=dtype)
    return lambda: neighborhood_rows._separate(logits, 2.6, 0.1, True)


LAUNCHES: dict[str, Callable[[], Any]] = {
    "vq-nearest-bf16-64": nearest(213_000, 64, BF16),
    "vq-nearest-bf16-128": nearest(16_384, 128, BF16),
    "vq-nearest-bf16-256-cosine": nearest(8192, 256, BF16, cosine=True),
    "vq-nearest-bf16-512": nearest(8192, 512, BF16),
    "vq-nearest-fp16-32": nearest(4096, 32, FP16, codes=65_536),
    "vq-nearest-fp32-64": nearest(32_256, 64, FP32),
    "vq-nearest-fp32-512-cosine": nearest(8192, 512, FP32, cosine=True),
    "vq-nearest-bf16-odd": nearest(1009, 63, BF16, codes=1001),
    "vq-sums-bf16": sums(16_384, 64, BF16, ordered=True),
    "vq-sums-fp32": sums(9000, 64, FP32, ordered=False),
    "voxel_tokenizer-forward-bf16-volumes": tokens(BF16, packed=False),
    "voxel_tokenizer-forward-bf16-packed": tokens(BF16),
    "voxel_tokenizer-forward-bf16-small": tokens(BF16, edge=4, features=256, count=7000),
    "voxel_tokenizer-forward-bf16-odd": tokens(BF16, edge=5, features=100, packed=False),
    "voxel_tokenizer-forward-fp16-raw": tokens(FP16, statistics=False),
    "voxel_tokenizer-forward-fp32-packed": tokens(FP32),
    "voxel_tokenizer-backward-bf16-volumes": tokens(BF16, packed=False, backward=True),
    "voxel_tokenizer-backward-bf16-packed": tokens(BF16, backward=True),
    "voxel_tokenizer-backward-fp32-packed": tokens(FP32, backward=True),
    "lora-forward-bf16": layer(16_384, BF16, activation="gelu"),
    "lora-forward-bf16-odd": layer(513, BF16, d_in=765, d_out=1001, rank=7),
    "lora-forward-bf16-odd-many": layer(16_384, BF16, d_in=765, d_out=1001, rank=7),
    "lora-forward-fp16-rank64": layer(512, FP16, rank=64),
    "lora-forward-fp32": layer(512, FP32, activation="silu"),
    "lora-decode-bf16": layer(1, BF16, activation="gelu"),
    "lora-backward-bf16": gradients(4096, BF16, activation="gelu"),
    "lora-backward-bf16-linear": gradients(4096, BF16),
    "lora-backward-fp16-rank64": gradients(512, FP16, rank=64),
    "lora-backward-bf16-rank32": gradients(4096, BF16, rank=32),
    "lora-backward-fp32": gradients(512, FP32, activation="silu"),
    "neighborhood-fp16-256": clustering(256, FP16),
    "neighborhood-fp16-63": clustering(63, FP16),
    "neighborhood-fp16-256-dance": clustering(256, FP16, dance=True),
    "neighborhood-bf16-768": clustering(768, BF16, sweep=True),
    "neighborhood-bf16-768-products": clustering(768, BF16),
    "neighborhood-fp16-768-dance": clustering(768, FP16, dance=True, size=200_001, sweep=True),
    "neighborhood-fp16-768-dance-products": clustering(768, FP16, dance=True, size=200_001),
    "neighborhood-bf16-256-exact": clustering(256, BF16, exact=True),
    "neighborhood-bf16-768-exact": clustering(768, BF16, exact=True),
    "neighborhood-update-fp32-63": memory_rows(63, FP32, 0.0),
    "neighborhood-update-bf16-2048": memory_rows(2048, BF16, 0.5),
    "neighborhood-separation-fp32": separated(36, 180, FP32),
    "neighborhood-separation-bf16": separated(15, 8000, BF16),
    "neighborhood-fp32-256": clustering(256, FP32),
    "neighborhood-fp32-768": clustering(768, FP32),
}


class Driver:
    """What Triton asks of a driver before it compiles, answered for a GPU that is not here."""

    def __init__(self, arch: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget("cuda", arch, 32)

    def get_current_target(self) -> Any:
        """The GPU to compile for."""
        return self._target

    def get_current_device(self) -> int:
        """A number that no device has, so that nothing compiled here is ever launched."""
        return 1000 + self._target.arch

    def get_current_stream(self, device: int) -> int:
        """Nothing runs on it."""
        return 0


@contextmanager
def on_absent_gpu(arch: int) -> Iterator[list[SimpleNamespace]]:
    """Collect what would be launched inside the block on a GPU of a compute capability × 10.

    Yields
    ------
    list of SimpleNamespace
        `kernel`, `key` (two launches with one key share a binary), `digest` (of all that decides
        about the binary: sources, constants, types, chip and Triton), `options` (constants),
        `arguments` and `compiled()`.
    """
    import triton
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    found: list[SimpleNamespace] = []
    run, capability = JITFunction.run, tables.capability

    def record(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        binder = self.device_caches[1000 + arch][-1]
        _, specialization, rest = binder(*args, **options)

        def compiled() -> Any:
            with installed():
                return run(self, *args, grid=grid, warmup=True, **options)

        key = self.fn.__name__, str(specialization), str(rest)
        decides = repr((triton.__version__, self.cache_key, arch, *key))
        found.append(
            SimpleNamespace(
                kernel=self.fn.__name__,
                key=key,
                digest=hashlib.sha256(decides.encode()).hexdigest()[:16],
                compiled=compiled,
                options=options,
                arguments=dict(zip(self.arg_names, args, strict=False)),
            )
        )

    @contextmanager
    def installed() -> Iterator[None]:
        before = driver._active
        driver.set_active(Driver(arch))
        try:
            yield
        finally:
            driver._active = before

    JITFunction.run = record
    tables.capability = lambda _: arch
    try:
        with installed():
            yield found
    finally:
        JITFunction.run, tables.capability = run, capability


def launched(name: str, arch: int) -> list[SimpleNamespace]:
    """The binaries that production launches in a call, in the order of the launches."""
    with on_absent_gpu(arch) as found:
        LAUNCHES[name]()
    return [*{launch.key: launch for launch in found}.values()]


def candidates(name: str, arch: int) -> tuple[list[SimpleNamespace], bool]:
    """The binaries of the other candidates of a call, and whether there is any with a tile."""
    with tables.asked() as log, on_absent_gpu(arch):
        LAUNCHES[name]()
    binaries, offered = [], False
    for question in {(q.kernel, q.shape): q for q in log}.values():
        # the first one is what production launches
        for candidate in question.candidates[1:]:
            offered |= bool(candidate.tile)
            with tables.forced(question.kernel, candidate.name, question.shape):
                found = launched(name, arch)
            binaries += [x for x in found if candidate.tile.items() <= x.options.items()]
    return binaries, offered
