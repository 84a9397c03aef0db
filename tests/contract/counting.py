"""Counts what Triton kernels move and multiply while they are interpreted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock


class Counts:
    """Bytes of each operand and operations of each kernel, counted while it is interpreted."""

    def __init__(self) -> None:
        self.launches: list[str] = []
        # as `launches.on_absent_gpu` yields them
        self.calls: list[SimpleNamespace] = []
        self.bytes: dict[str, Counter[str]] = {}
        self.flops: Counter[str] = Counter()
        self._places: list[tuple[int, int, str]] = []

    def begin(self, kernel: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """A launch: where its operands lie."""
        named = dict(zip(kernel.arg_names, arguments, strict=False))
        name = kernel.fn.__name__
        self.calls.append(SimpleNamespace(kernel=name, arguments=named, options=options))
        self.launches.append(name)
        self.bytes.setdefault(self.launches[-1], Counter())
        self._places = []
        for name, value in zip(kernel.arg_names, arguments, strict=False):
            tensor = getattr(value, "base", value)
            if hasattr(tensor, "untyped_storage"):
                start = tensor.data_ptr()
                self._places.append((start, start + tensor.nbytes, name))

    def moved(self, pointers: Any, mask: Any, width: int) -> None:
        """A load or a store of elements of `width` bytes."""
        import numpy as np

        pointers, mask = np.broadcast_arrays(pointers, mask)
        here = pointers[mask.astype(bool)]
        found = 0
        for start, end, name in self._places:
            inside = int(((here >= start) & (here < end)).sum())
            self.bytes[self.launches[-1]][name] += inside * width
            found += inside
        assert found == here.size, "an address outside the operands"

    def dot(self, a: Any, b: Any) -> None:
        """A product of two tiles."""
        rows, inner = a.data.shape[-2:]
        self.flops[self.launches[-1]] += 2 * rows * inner * b.data.shape[-1]


@contextmanager
def counted(*modules: Any) -> Iterator[Counts]:
    """Count what the launches of some modules do inside the block; needs ``TRITON_INTERPRET=1``."""
    import numpy as np
    from triton.runtime import interpreter

    counts = Counts()
    native, dot = interpreter._interpreter, interpreter.InterpreterBuilder.create_dot

    class Watched:
        """The memory accesses of the interpreter."""

        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

        def load(self, pointers: Any, mask: Any, other: Any, dtype: Any) -> Any:
            counts.moved(pointers, mask, np.dtype(dtype).itemsize)
            return native.load(pointers, mask, other, dtype)

        def store(self, pointers: Any, value: Any, mask: Any) -> Any:
            counts.moved(pointers, mask, value.itemsize)
            return native.store(pointers, value, mask)

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        counts.dot(a, b)
        return dot(self, a, b, *rest)

    def watched(launch: Callable[..., None]) -> Callable[..., None]:
        def run(kernel: Any, grid: Any, *arguments: Any, **constants: Any) -> None:
            counts.begin(kernel, arguments, constants)
            launch(kernel, grid, *arguments, **constants)

        return run

    with ExitStack() as stack:
        patch = mock.patch.object
        stack.enter_context(patch(interpreter, "_interpreter", Watched()))
        stack.enter_context(patch(interpreter.InterpreterBuilder, "create_dot", create_dot))
        for module in modules:
            stack.enter_context(patch(module, "launch", watched(module.launch)))
        yield counts
