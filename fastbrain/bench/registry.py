"""Every op on every shape that is timed, and all who solve it, described once.

``fastbrain bench run`` times the entries interleaved, ``pytest benchmarks --benchmark-only`` one by
one, and ``benchmarks/gpu_suite.sh`` on a GPU. A provider is a function without arguments that
goes through a public interface; an answer that is not near the truth is never timed. Numbers are
drawn on the device that works on them.

Providers of other packages are in :mod:`fastbrain.bench.providers`; an installed package adds
entries and providers of its own by the entry point group ``fastbrain.bench``
(:mod:`fastbrain.bench.plugins`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

import torch

from .rows import OURS as OURS

Way = Callable[[], Any]
# modules of fastbrain.bench.cases
FAMILIES = (
    "voxel_tokenizer",
    "neighborhood",
    "vq",
    "lora",
    "decode",
    "parcels",
    "pca",
    "reading",
    "brainllm",
    "training_steps",
)


@dataclass(frozen=True)
class Setting:
    """Where a problem is set up, and in which precision its floating numbers are.

    Parameters
    ----------
    device : str
    dtype : torch.dtype
    compiled : bool
        Whether to add the compiled form of the plain PyTorch provider.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    compiled: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def precision(self) -> str:
        """Name of the dtype, as rows have it."""
        return str(self.dtype).removeprefix("torch.")

    def generator(self) -> torch.Generator:
        """Random numbers of the device, the same at every run."""
        return torch.Generator(self.device).manual_seed(0)


@dataclass(frozen=True)
class Problem:
    """One op on one shape.

    Parameters
    ----------
    providers : mapping
        Name to function; ours is ``fastbrain``, and the name of every variant of ours begins so.
    error : callable
        Provider and its answer to the relative error (or the share of wrong indices).
    limit : float
        A provider with a larger error is not timed.
    flops, traffic : float
        Operations, and bytes that must cross main memory at least once.
    inputs : mapping
        What a :class:`Provider` of another package receives, by name.
    kernels : mapping
        Provider to its bare kernel: no checks, memory for the result at hand. It is timed with the
        others and is a column of that provider's row.
    ceilings : mapping
        Bare products and the like: timed with the providers, but they solve nothing.
    against : mapping
        Provider to the variant of ours that starts from the same input; its time is divided by
        that variant's. Default: ``fastbrain``.
    facts : mapping
        What a row says of the shape.
    """

    providers: Mapping[str, Way]
    error: Callable[[str, Any], float]
    limit: float
    flops: float
    traffic: float
    inputs: Mapping[str, Any] = field(default_factory=dict)
    kernels: Mapping[str, Way] = field(default_factory=dict)
    ceilings: Mapping[str, Way] = field(default_factory=dict)
    against: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def anywhere(inputs: Mapping[str, Any], setting: Setting) -> str | None:
    """Any inputs in any setting: the default of :class:`Provider`."""
    return None


@dataclass(frozen=True)
class Provider:
    """Another package that solves an op.

    Parameters
    ----------
    name, op : str
    build : callable
        Inputs of a problem (:attr:`Problem.inputs`) and the setting to the function that is timed.
        It returns what the op returns.
    can_run : callable
        Inputs and setting to None, or the reason why it takes no part: not installed, no GPU.
    """

    name: str
    op: str
    build: Callable[[Mapping[str, Any], Setting], Way]
    can_run: Callable[[Mapping[str, Any], Setting], str | None] = anywhere


@dataclass(frozen=True)
class Entry:
    """A case of an op.

    Parameters
    ----------
    op, case : str
    build : callable
        Sets the problem up.
    rounds : int
    gpu_only : bool
        A CPU is too slow for it.
    on_host : bool
        It never uses a GPU.
    precision : str
        What the entry computes in whatever the setting says, as ``"float32"``; "" is the setting's.
    graph : bool
        Whether a CUDA graph could hold it: nothing in it waits for the host to decide.
    limit_s : float
        Seconds after which a single call counts as hanging.
    """

    op: str
    case: str
    build: Callable[[Setting], Problem]
    rounds: int = 21
    gpu_only: bool = False
    on_host: bool = False
    precision: str = ""
    graph: bool = True
    limit_s: float = 20.0

    @property
    def id(self) -> str:
        """Readable name, ``op-case``."""
        return f"{self.op}-{self.case}"

    def precision_in(self, setting: Setting) -> str:
        """Name of the dtype that the entry really computes in."""
        return self.precision or setting.precision

    def suits(self, setting: Setting) -> bool:
        """Whether to run here: one with a precision of its own runs once, with float32."""
        if self.on_host if setting.on_gpu else self.gpu_only:
            return False
        return not self.precision or setting.dtype == torch.float32


def entries(*families: str) -> list[Entry]:
    """The entries of some families, by default of all.

    Parameters
    ----------
    *families : str
        Names in :data:`FAMILIES`, or modules with a list ``ENTRIES``.
    """
    return [entry for name in families or FAMILIES for entry in _module(name).ENTRIES]


def providers(family: str) -> tuple[str, ...]:
    """Names of those who solve a family's problems on a CPU; some need a package of their own."""
    return _module(family).PROVIDERS


def _module(family: str) -> Any:
    return import_module(f"{__package__}.cases.{family}" if family in FAMILIES else family)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function compiled for the shapes it is called with, and for no others."""
    # what an earlier entry compiled would count as a sign that shapes vary
    torch._dynamo.reset()
    return torch.compile(function, dynamic=False)


def relative(got: torch.Tensor, truth: torch.Tensor) -> float:
    """Relative L2 error in float64."""
    truth = truth.detach().double()
    return float((got.detach().double() - truth).norm() / truth.norm().clamp_min(1e-300))


def farthest(got: Sequence[torch.Tensor], truth: Sequence[torch.Tensor]) -> float:
    """The largest relative error of several tensors, as an answer and its gradients."""
    return max(relative(a, b) for a, b in zip(got, truth, strict=True))


def ours(
    setting: Setting, call: Callable[[str | None], Any], op: str, *args: Any, **options: Any
) -> dict[str, Way]:
    """Our op as it chooses for itself and, on a GPU, each backend that can run the problem."""
    from .. import ops

    providers: dict[str, Way] = {OURS: lambda: call(None)}
    if setting.on_gpu:
        for name, reason in ops.explain(op, *args, **options).rows:
            if reason is None and name != "reference":
                providers[f"{OURS}-{name}"] = partial(call, name)
    return providers
