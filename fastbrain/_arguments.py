"""Checks of the arguments of public functions against their annotations, before any work starts.

:func:`checked` reads the annotations once and raises for arguments that they do not allow. Each
function checks the properties that an annotation cannot express, for example shapes and empty
sequences.
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
_STARRED = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
_NAMED_KINDS = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}


@overload
def checked(target: T) -> T:
    """Check the arguments of a function or class; raise :class:`InputError`, without bounds."""


@overload
def checked(
    *, error: type[FastbrainError] = ..., least: Mapping[str, float] | None = ...
) -> Callable[[T], T]:
    """Make a decorator that raises `error` and applies the bounds in `least`."""


def checked(
    target: Any = None,
    *,
    error: type[FastbrainError] = InputError,
    least: Mapping[str, float] | None = None,
) -> Any:
    """Check the arguments of a function, or of the constructor of a class, at every call.

    Parameters
    ----------
    target : callable
        A function or class of a module with postponed evaluation of annotations.
    error : type of FastbrainError
        Type of the error raised.
    least : mapping of str to float, optional
        Smallest value of some parameters. A parameter named ``seed`` must not be negative; one
        named ``llm`` or ``tokenizer`` must be a valid object of that kind, and one named ``device``
        a device of this machine.

    Returns
    -------
    callable
        The same function or class, with the same signature. A 1-D array passed for a
        sequence is converted to a list, so that its truth value is that of a list. A NumPy number
        is converted to a Python number if only numbers are allowed, so that JSON can store it.
    """
    if target is None:
        return functools.partial(checked, error=error, least=least)
    if isinstance(target, type):
        own: Any = target
        own.__init__ = _guarded(own.__init__, own, error, least)
        return own
    return _guarded(target, target, error, least)


def _scope(owner: Any, parameter: str) -> dict[str, Any]:
    """Return the names of the module that annotates a parameter, possibly that of a base class."""
    for part in getattr(owner, "__mro__", (owner,)):
        if parameter in inspect.get_annotations(part):
            return vars(sys.modules[part.__module__])
    return vars(sys.modules[owner.__module__])


def _guarded(
    function: Any, owner: Any, error: type[FastbrainError], least: Mapping[str, float] | None
) -> Any:
    signature, name = inspect.signature(function), owner.__qualname__.split(">.")[-1]
    parameters = dict(signature.parameters)
    bounds = {"seed": 0.0, **(least or {})}
    rules: dict[str, Rule] = {}
    starred = {n for n, p in parameters.items() if p.kind in _STARRED}

    def check(given: dict[str, Any]) -> None:
        if not rules:
            rules.update((n, rule_of(p, _scope(owner, n))) for n, p in parameters.items())
        for parameter, value in given.items():
            rule, each = rules[parameter], (value,)
            if parameter in starred:
                each = tuple(value.values()) if isinstance(value, dict) else value
            for one in each:
                _check(name, parameter, one, rule, bounds.get(parameter), error)
            if rule.lists and isinstance(value, np.ndarray):
                given[parameter] = value.tolist()
            elif rule.scalar and isinstance(value, np.generic):
                given[parameter] = value.item()

    if {p.kind for p in parameters.values()} <= _NAMED_KINDS:
        by_name = _names_of(parameters)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            given = by_name(args, options)
            if given is None:
                return function(*args, **options)  # Python's own message names what is missing
            check(given)
            return function(**given)

        return call

    @functools.wraps(function)
    def call_starred(*args: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*args, **options)
        except TypeError:
            return function(*args, **options)
        check(bound.arguments)
        return function(*bound.args, **bound.kwargs)

    return call_starred


def _names_of(
    parameters: Mapping[str, inspect.Parameter],
) -> Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any] | None]:
    """Make a function that names the arguments of a call; None where they do not fit.

    ``inspect.Signature.bind`` takes 50 us for the fields of a trial, and stores have many trials.
    """
    needed = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    places = [n for n, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]

    def by_name(args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any] | None:
        given = dict(zip(places, args, strict=False))
        fits = len(args) <= len(places) and given.keys().isdisjoint(options)
        given |= options
        return given if fits and needed <= given.keys() <= parameters.keys() else None

    return by_name


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
            f"{function}: {name} must be {rule.words}, got {shown(value)}. {rule.remedy(value)}"
        )
    if least is not None and isinstance(value, numbers.Real) and float(value) < least:
        raise error(
            f"{function}: {name} must be {least:g} or more, got {value}. Choose a larger value."
        )


def shown(value: Any) -> str:
    """Format a value for a message: its type, and its text cut to one line."""
    try:
        text = repr(value) if isinstance(value, (str, bytes, int, float, type(None))) else ""
        text = text or (str(tuple(value.shape)) if hasattr(value, "shape") else repr(value))
    except Exception:  # __repr__ of a foreign class may raise anything
        text = ""
    text = " ".join(text.split())
    return f"{type(value).__name__} {text[:77] + '...' if len(text) > 80 else text}".strip()
