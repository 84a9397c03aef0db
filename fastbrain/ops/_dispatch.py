"""Choice of the backend that runs an op, and the reasons against the others.

Every op has a tuple of backends in the order ``cuda, triton, cpu, reference``; the first one for
which `can_run` returns None is used. A backend requested by name, with the keyword ``backend=``,
``with fastbrain.backend(name)`` or the variable ``FASTBRAIN_BACKEND`` (read when this module is
imported), runs or raises: it never falls back to another one.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import BackendError, InputError
from . import _cuda, _triton

NAMES = ("cuda", "triton", "cpu", "reference")
# the tests run these kernels on the CPU, emulated or interpreted
_GPU_ONLY = {
    name
    for name, anywhere in (("cuda", _cuda.EMULATED), ("triton", _triton.INTERPRETED))
    if not anywhere
}

# op -> module of this package that defines it in its OPERATIONS
FAMILIES = {
    "tokenize_voxels": "voxel_tokenizer.op",
    "lora_linear": "lora.op",
    "lora_attention": "lora.op",
    "neighborhood_clustering": "neighborhood.op",
    "memory_update_": "neighborhood.op",
    "entropy_separation": "neighborhood.op",
    "vq_lookup": "vq.lookup",
    "vq_update_": "vq.update",
}

# a plain global, not a context variable: torch.compile guards on it and recompiles on a change
_requested: str | None = os.environ.get("FASTBRAIN_BACKEND") or None
_observer: list[tuple[str, str]] | None = None


@dataclass(frozen=True)
class Backend:
    """One implementation; `can_run(problem)` returns None or the reason why it cannot run.

    `how(problem)` names the way it takes, for a backend that has several. `slower(problem)` is None
    or the reason to leave a call to the next backend, unless this one is requested by name.
    """

    name: str
    can_run: Callable[[Any], str | None]
    call: Callable[[Any], Any]
    how: Callable[[Any], str] | None = None
    slower: Callable[[Any], str | None] | None = None


@dataclass(frozen=True)
class Operation:
    """An op: `problem` checks the public arguments and returns the tuple that backends receive.

    `on_cpu` holds the backends that accept CPU tensors.
    """

    name: str
    problem: Callable[..., tuple[Any, ...]]
    backends: tuple[Backend, ...]
    on_cpu: tuple[Backend, ...] = field(init=False)

    def __post_init__(self) -> None:
        # computed here, not on first use, because torch.compile cannot trace that
        on_cpu = tuple(b for b in self.backends if b.name not in _GPU_ONLY)
        object.__setattr__(self, "on_cpu", on_cpu)


@dataclass(frozen=True)
class Explanation:
    """Result of :func:`explain`; its text has one line for each backend."""

    op: str
    rows: tuple[tuple[str, str | None], ...]
    chosen: str | None
    how: str = ""
    slower: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.op}: {self.chosen or 'no backend'} runs"]
        slower = dict(self.slower)
        for name, reason in self.rows:
            mark = "->" if name == self.chosen else "  "
            line = f" {mark} {name:<10} {'yes' if reason is None else 'no: ' + reason}"
            line += f", but {slower[name]}" if name in slower and name != self.chosen else ""
            lines.append(f"{line}: {self.how}" if name == self.chosen and self.how else line)
        return "\n".join(lines)


def anything(_problem: Any) -> None:
    """`can_run` of a backend that runs every valid problem."""
    return None


def choose(op: Operation, problem: tuple[Any, ...], backend: str | None) -> Backend:
    """Pick the backend for a checked problem.

    Raises
    ------
    BackendError
        The requested name is unknown, not built for this op, or cannot run these inputs.
    """
    wanted = _requested if backend is None else backend
    if wanted is None:
        # skip the checks of the GPU backends, which would slow down a short call on the CPU
        on_cpu = isinstance(problem[0], Tensor) and problem[0].is_cpu
        passed: Backend | None = None
        for candidate in op.on_cpu if on_cpu else op.backends:
            if candidate.can_run(problem) is not None:
                continue
            if candidate.slower is not None and candidate.slower(problem) is not None:
                passed = candidate
            elif passed is not None and candidate.name == "reference":
                # the faster one cannot run
                return passed
            else:
                return candidate
        raise BackendError(f"{op.name}: some backend must run these inputs, got none that can.")
    reason = _objection(op, problem, wanted)
    if reason is not None:
        raise BackendError(
            f"{op.name}: backend '{wanted}' must be able to run these inputs, got '{reason}'. "
            "Choose another backend or leave the choice open."
        )
    return next(b for b in op.backends if b.name == wanted)


def any_gradient(*tensors: Tensor | None) -> bool:
    """Return whether autograd will need a gradient for any of the tensors."""
    if torch.is_grad_enabled():
        for value in tensors:
            if value is not None and value.requires_grad:
                return True
    return False


def run(op: Operation, problem: tuple[Any, ...], backend: str | None) -> Any:
    """Choose a backend and call it."""
    chosen = choose(op, problem, backend)
    if _observer is not None:
        _observer.append((op.name, chosen.name))
    return chosen.call(problem)


def runs_first(op: Operation, name: str, backend: str | None) -> bool:
    """Return whether tensors on the CPU go to this backend before any other."""
    wanted = _requested if backend is None else backend
    if wanted is None:
        return op.on_cpu[0].name == name
    return isinstance(wanted, str) and wanted == name


def note(op: Operation, name: str) -> None:
    """Tell the observer of a call that has not gone through :func:`run`."""
    if _observer is not None:
        _observer.append((op.name, name))


@contextmanager
def observed() -> Iterator[list[tuple[str, str]]]:
    """Collect (op, backend) of every call that the process makes inside the block."""
    global _observer
    before, _observer = _observer, []
    try:
        yield _observer
    finally:
        _observer = before


def explain(op: str, *args: Any, **options: Any) -> Explanation:
    """Return which backend would run a call, and why the others would not.

    Parameters
    ----------
    op : str
        Name of a public op, for example ``"vq_lookup"``.
    *args, **options
        The arguments of the call, exactly as the op would receive them, ``backend=`` included.

    Returns
    -------
    Explanation
        `rows` holds (backend, None or reason), `chosen` the name that runs, None if the
        requested one cannot, `how` the way it takes where it has several, and `slower` the reasons
        to pass over backends that could run.

    Raises
    ------
    InputError
        The arguments are invalid for the op.
    BackendError
        `op` is not the name of an op.
    """
    operation = operation_of(op)
    backend = options.pop("backend", None)
    try:
        inspect.signature(operation.problem).bind(*args, **options)
    except TypeError as error:
        raise InputError(f"explain: args must be those of {op}, got others: {error}.") from error
    problem = operation.problem(*args, **options)
    built = {b.name for b in operation.backends}
    rows = tuple(
        (name, _objection(operation, problem, name)) for name in NAMES if name in built
    ) + tuple((name, "not built for this op") for name in NAMES if name not in built)
    try:
        chosen: Backend | None = choose(operation, problem, backend)
    except BackendError:
        _known(_requested if backend is None else backend)
        chosen = None
    ordered = tuple(sorted(rows, key=lambda row: NAMES.index(row[0])))
    how = chosen.how(problem) if chosen and chosen.how else ""
    able = {name for name, reason in rows if reason is None}
    slower = tuple(
        (b.name, reason)
        for b in operation.backends
        if b.slower and b.name in able and (reason := b.slower(problem))
    )
    return Explanation(op, ordered, chosen.name if chosen else None, how, slower)


def operation_of(op: str) -> Operation:
    """Look an op up by its public name."""
    if not isinstance(op, str) or op not in FAMILIES:
        raise BackendError(f"explain: op must be one of {', '.join(FAMILIES)}, got {op!r}.")
    module = importlib.import_module(f".{FAMILIES[op]}", __package__)
    return module.OPERATIONS[op]


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Request one backend for every op called inside the block, in the whole process.

    Parameters
    ----------
    name : {"cuda", "triton", "cpu", "reference"}

    Raises
    ------
    BackendError
        The name is unknown; inside the block, an op raises it when the backend cannot run.
    """
    global _requested
    _known(name)
    before, _requested = _requested, name
    try:
        yield
    finally:
        _requested = before


def _known(name: str | None) -> None:
    if name is not None and (not isinstance(name, str) or name not in NAMES):
        raise BackendError(f"backend: name must be one of {', '.join(NAMES)}, got {name!r}.")


def _objection(op: Operation, problem: tuple[Any, ...], name: str) -> str | None:
    _known(name)
    for candidate in op.backends:
        if candidate.name == name:
            return candidate.can_run(problem)
    return "not built for this op"
