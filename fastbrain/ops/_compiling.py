"""Marks for torch.compile that do not import the compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def constant_in_graphs(function: F) -> F:
    """Mark a function: its result is a constant of a compiled graph.

    As ``torch.compiler.assume_constant_result``, but without the import of the compiler, which
    takes as long as that of torch.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
