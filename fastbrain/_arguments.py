"""Arguments of public functions, checked against their annotations before any work starts.

The annotation is the contract: :func:`checked` reads it once and refuses what it does not allow.
What an annotation cannot say (shapes, finite values, empty sequences) the function checks itself.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

import numpy as np

from ._annotations import Rule, rule_of
from .errors import FastbrainError, InputError

T = TypeVar("T", bound=Callable[..., Any])


@overload
def checked(target: T) -> T:
    """Check a function or class, with :class:`InputError` and no bounds."""


@overload
def checked(
    *, error: type[FastbrainError] = ..., least: Mapping[str, float] | None = ...
) -> Callable[[T], T]:
    """Make a decorator that raises `error` and keeps to the bounds in `least`."""


def checked(
    target: Any = None,
    *,
    error: type[FastbrainError] = InputError,
    least: Mapping[str, float] | None = None,
) -> Any:
    """Check the arguments of a function, or of a class's constructor, at every call.

    Parameters
    ----------
    target : callable
        A function or class whose module postpones the evaluation of annotations.
    error : type of FastbrainError
        What is raised.
    least : mapping of str to float, optional
        Smallest value of some parameters. A parameter called ``seed`` is never negative; one
        called ``llm``, ``tokenizer`` or ``device`` is what its name says.

    Returns
    -------
    callable
        The same function or class, with the same signature. An array of one axis that stands for a
        sequence is handed on as a list: its truth value is that of a list. A number of numpy is
        handed on as one of Python, where nothing but a number is allowed: JSON knows no other.
    """
    if target is None:
        return functools.partial(checked, error=error, least=least)
    if isinstance(target, type):
        own: Any = target
        own.__init__ = _guarded(own.__init__, own, error, least)
        return own
    return _guarded(target, target, error, least)


def _scope(owner: Any, parameter: str) -> dict[str, Any]:
    """Names of the module that annotates a parameter: that of a base class for its fields."""
    for part in getattr(owner, "__mro__", (owner,)):
        if parameter in inspect.get_annotations(part):
            return vars(sys.modules[part.__module__])
    return vars(sys.modules[owner.__module__])


def _guarded(
    function: Any, owner: Any, error: type[FastbrainError], least: Mapping[str, float] | None
) -> Any:
    signature, name = inspect.signature(function), owner.__qualname__.split(">.")[-1]
    bounds = {"seed": 0.0, **(least or {})}
    rules: dict[str, Rule] = {}

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        if not rules:
            described = signature.parameters.items()
            rules.update((n, rule_of(p, _scope(owner, n))) for n, p in described)
        try:
            bound = signature.bind(*args, **options)
        except TypeError:
            return function(*args, **options)  # Python's own message names what is missing
        for parameter, value in bound.arguments.items():
            kind = signature.parameters[parameter].kind
            each = (value,)
            if kind is inspect.Parameter.VAR_POSITIONAL:
                each = value
            elif kind is inspect.Parameter.VAR_KEYWORD:
                each = tuple(value.values())
            for one in each:
                _check(name, parameter, one, rules[parameter], bounds.get(parameter), error)
            rule = rules[parameter]
            if rule.lists and isinstance(value, np.ndarray):
                bound.arguments[parameter] = value.tolist()
            elif rule.scalar and isinstance(value, np.generic):
                bound.arguments[parameter] = value.item()
        return function(*bound.args, **bound.kwargs)

    return call


def _check(
    function: str,
    name: str,
    value: Any,
    rule: Rule,
    least: float | None,
    error: type[FastbrainError],
) -> None:
    if not rule.allows(value):
        raise error(
            f"{function}: {name} must be {rule.words}, got {shown(value)}. "
            "Convert it, or check the order of the arguments."
        )
    if least is not None and isinstance(value, numbers.Real) and float(value) < least:
        raise error(
            f"{function}: {name} must be {least:g} or more, got {value}. Choose a larger value."
        )


def shown(value: Any) -> str:
    """A value as a message shows it: its type, and what fits one line."""
    try:
        text = repr(value) if isinstance(value, (str, bytes, int, float, type(None))) else ""
        text = text or (str(tuple(value.shape)) if hasattr(value, "shape") else repr(value))
    except Exception:  # a stranger's __repr__ may do anything
        text = ""
    text = " ".join(text.split())
    return f"{type(value).__name__} {text[:77] + '...' if len(text) > 80 else text}".strip()
