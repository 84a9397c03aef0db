"""C++ backend of neighbourhood clustering, with its registration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ... import _native
from .. import _measured
from .._tensors import DTYPES, address, contiguous
from . import autograd as entropy
from . import products, rounded, tiles
from .checks import ClusteringProblem, not_unit

# The similarities are stored, for products by PyTorch, if they take no more than this or than an
# eighth of the memory; from this width and number of multiplications on it may pay.
_STORED_BYTES, _STORED_SHARE = 64 << 20, 8
LEAST_WIDTH, _LEAST_WORK = 256, 1 << 26
# Without measurements, the kernel runs except where it computes similarities twice for many samples
# or where the time is that of the products. Time of eager over the kernel's on an EPYC 9004,
# forward and backward: 256 x 20000 similarities of 768 and 2048 elements 0.83 and 0.69 in "dance",
# 256 x 1000 of 2048 elements 0.66 to 0.94.
_KEPT_BYTES = 6 << 20
_WIDE, _WIDEST = 512, 1024
_MANY = {torch.float32: 128, torch.float64: 32}

_NOTHING = torch.empty(0, 0)

_library = torch.library.Library("fastbrain", "FRAGMENT")
_library.define("neighborhood_clustering_cpu" + entropy.SCHEMA)


def can_run(problem: ClusteringProblem) -> str | None:
    """Return None, or the reason why the C++ kernel cannot run the checked problem."""
    features = problem.features
    if features.device.type != "cpu":
        return f"the tensors are on {features.device}"
    return entropy.objection(features, problem.temperature)


def call(problem: ClusteringProblem) -> Tensor:
    """Compute the mean entropy on the CPU, with gradients for features and prototypes."""
    if torch.compiler.is_compiling():
        operator = torch.ops.fastbrain.neighborhood_clustering_cpu
        return entropy.clustering(operator, problem, rounds=_rounds(problem))
    # for few samples the dispatcher takes as long as the kernel
    return entropy.clustering(_at_once, problem, rounds=_rounds(problem))


def _rounds(problem: ClusteringProblem) -> bool:
    """Return whether the caller's tensors, all bfloat16, allow results in that precision."""
    return (
        problem.memory.dtype is torch.bfloat16
        and problem.features.dtype is torch.bfloat16
        and problem.prototypes.dtype is torch.bfloat16
        and problem.memory.shape[1] >= LEAST_WIDTH
        and products.MULTIPLIES_BFLOAT16
    )


def _entropy(features: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _into(entropy.fake(features, *arguments), features, *arguments)


def _at_once(features: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Compute as the operator does; derivatives that are not requested may share memory."""
    if arguments[-1]:
        return _entropy(features, *arguments)
    value = features.new_empty((), dtype=entropy.precision_of(features))
    return _into((value, _NOTHING, _NOTHING), features, *arguments)


def _into(
    out: tuple[Tensor, Tensor, Tensor],
    features: Tensor,
    others: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    own: int,
    grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    features, others, indices = contiguous(features, others, indices)
    if memory.stride(1) != 1 or memory.stride(0) < memory.shape[1]:
        memory = memory.contiguous()
    arguments = (out, features, others, memory, indices, temperature, eps, own)
    if features.shape[1] < LEAST_WIDTH:
        _stream(*arguments)
        return out
    ways: dict[str, Callable[[], None]]
    if features.dtype is torch.bfloat16:
        ways = {
            "stream": partial(_widened, _stream, *arguments),
            "products": partial(_widened, products.run, *arguments),
            "rounded": partial(rounded.run, *arguments),
        }
        if tiles.suits(memory):
            ways["tiles"] = partial(_widened, partial(products.run, rounds=True), *arguments)
    else:
        ways = {
            "stream": partial(_stream, *arguments),
            "products": partial(products.run, *arguments),
        }

    def find() -> _measured.Choice:
        return _way(features, memory, eps != 0, grad, ways)

    if features.dtype is torch.bfloat16:
        # float32 features may be bfloat16 once and not at the next call
        tiled = tiles.suits(memory)
        shape = ("neighborhood_clustering", *features.shape, memory.shape[0], tiled, eps != 0, grad)
        ways[_measured.remembered(shape, find)]()
    else:
        ways[find().way]()
    return out


def _widened(
    run: Callable[..., None],
    out: tuple[Tensor, Tensor, Tensor],
    features: Tensor,
    others: Tensor,
    *rest: Any,
) -> None:
    """Run a way that takes float32 on features of bfloat16."""
    run(out, features.float(), others.float(), *rest)


def _way(
    features: Tensor, memory: Tensor, smoothed: bool, grad: bool, ways: dict[str, Any]
) -> _measured.Choice:
    """Choose between the streaming kernel and PyTorch's products; no `ways`: without measuring."""
    (batch, width), size = features.shape, len(memory)
    precision = entropy.precision_of(features)
    stored = batch * size * precision.itemsize
    most = max(_STORED_BYTES, width * size * precision.itemsize // _STORED_SHARE)
    if width < LEAST_WIDTH or batch * size * width < _LEAST_WORK or stored > most:
        return _measured.Choice("stream", "")
    kept = stored <= _KEPT_BYTES
    many = not kept and smoothed and batch > _MANY[precision] and width > _WIDE
    plain = kept and batch > 128 and width > _WIDEST
    rule = "products" if many or plain else "stream"
    variant = "dance" if smoothed else "paper"
    rounds = features.dtype is torch.bfloat16
    # bfloat16 features that become float32 first are multiplied as such, without rounding
    narrow = "exact-bfloat16" if products.exact_in_bfloat16(features, memory) else None
    kinds = (narrow or str(features.dtype), str(memory.dtype))
    dtypes = "-".join(kind.removeprefix("torch.") for kind in kinds)
    # classes are powers of two
    shape = "-".join(
        f"{n}{1 << (v - 1).bit_length()}" for n, v in (("B", batch), ("N", size), ("D", width))
    )
    key = f"neighborhood_clustering {variant} {shape} {dtypes}{' backward' if grad else ''}"
    names = ["stream", "products"]
    if rounds:
        names.append("rounded")
        # shapes with another set of ways are another class
        if tiles.suits(memory):
            names.append("tiles")
            key += " tiles"
    known = ways or dict.fromkeys(names, int)
    return _measured.choose(key, known, rule, measure=bool(ways))


def how(problem: ClusteringProblem) -> str:
    """Name the way that the next call with such a problem takes, and why."""
    features, prototypes = problem.features, problem.prototypes
    grad = torch.is_grad_enabled() and (features.requires_grad or prototypes.requires_grad)
    if not _rounds(problem):
        features = features.to(entropy.precision_of(features))
    choice = _way(features, problem.memory, problem.variant == "dance", grad, {})
    return choice.way + (choice.reason and f" ({choice.reason})")


def _stream(
    out: tuple[Tensor, Tensor, Tensor],
    features: Tensor,
    others: Tensor,
    memory: Tensor,
    indices: Tensor,
    temperature: float,
    eps: float,
    own: int,
) -> None:
    grad = out[1].numel() > 0
    double = features.dtype == torch.float64
    run = _native.neighborhood_entropy_double if double else _native.neighborhood_entropy
    # by position: names take longer than a few samples
    refused = run(
        address(features),
        address(memory),
        DTYPES[memory.dtype],
        address(indices),
        address(others),
        own if eps else -1,
        (*features.shape, memory.shape[0], memory.stride(0), others.shape[0]),
        1 / temperature,
        eps,
        address(out[0]),
        address(out[1]) if grad else 0,
        address(out[2]) if grad else 0,
        torch.get_num_threads(),
    )
    if refused >= 0:
        raise not_unit(refused, float(memory[refused].double().norm()))


_library.impl("neighborhood_clustering_cpu", _entropy, "CPU")
torch.library.register_fake("fastbrain::neighborhood_clustering_cpu", entropy.fake, lib=_library)
