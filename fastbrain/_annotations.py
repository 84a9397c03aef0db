"""Rules for values, made from annotations: a test and a description in words."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import math
import numbers
import os
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ._devices import device_fault

_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, of every common file system and of Linux
_PATH = f"a path with names of at most {_LONGEST_NAME} bytes, {_LONGEST_PATH} in all"
_SCALARS: dict[Any, str] = {
    int: "an integer of 64 bits",
    float: "a finite number",
    bool: "True or False",
    str: "a str",
    type(None): "None",
}


@dataclass(frozen=True)
class Rule:
    """Rule for the values that one annotation allows: a description and a test.

    `lists`: an array is converted to a list; `scalar`: a NumPy number to a Python number;
    `remedy`: what to do about a value that is not allowed.
    """

    words: str
    allows: Callable[[Any], bool]
    lists: bool = False
    scalar: bool = False
    remedy: Callable[[Any], str | None] = lambda value: (
        "Convert it, or check the order of the arguments."
    )


def rule_of(parameter: inspect.Parameter, scope: dict[str, Any]) -> Rule:
    """Return the rule of a parameter; `scope` holds the names of its module."""
    annotation = parameter.annotation
    if not isinstance(annotation, str) or annotation == "":
        return _ANYTHING
    named = _NAMED.get(parameter.name)
    if named is not None and (annotation == "Any" or parameter.name == "device"):
        return named
    parts: list[ast.expr] = [ast.parse(annotation, mode="eval").body]
    leaves = []
    while parts:
        part = parts.pop(0)
        if isinstance(part, ast.BinOp):
            parts = [part.left, part.right, *parts]
        else:
            leaves.append(ast.unparse(part))
    return _any_of([_leaf(text, scope) for text in leaves])


def _leaf(text: str, scope: dict[str, Any]) -> Rule:
    if text.endswith("ArrayLike"):
        return Rule("an array of real numbers", _is_numeric)

    def annotated() -> None: ...

    annotated.__annotations__ = {"it": text}
    try:
        return _of(typing.get_type_hints(annotated, scope)["it"])
    except NameError:  # imported only for type checkers
        return _ANYTHING


def _any_of(rules: list[Rule]) -> Rule:
    words = [rule.words for rule in rules]
    if _ANYTHING in rules:
        return _ANYTHING
    if _PATH in words:  # a str beside a path is one too
        rules = [rule for rule in rules if rule.words != _SCALARS[str]]
    if len(rules) == 1:
        return rules[0]
    described = " or ".join(dict.fromkeys(rule.words for rule in rules))
    return Rule(
        described,
        lambda value: any(rule.allows(value) for rule in rules),
        any(rule.lists for rule in rules),
        all(rule.scalar for rule in rules),
    )


def _of(hint: Any) -> Rule:
    """Return the rule of an evaluated annotation without ArrayLike."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is None:
        hint = type(None)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return _ANYTHING
    if origin in (typing.Union, types.UnionType):
        return _any_of([_of(arg) for arg in args])
    if origin is typing.Literal:
        return Rule(
            f"one of {args}", lambda value: any(type(value) is type(a) and value == a for a in args)
        )
    if origin is np.ndarray or hint is np.ndarray:
        return _array_rule(args)
    if hint in _SCALARS:
        return Rule(_SCALARS[hint], _SCALAR_TESTS[hint], scalar=True)
    if hint is Path:
        return Rule(_PATH, _is_path)
    kind: Any = origin if origin is not None else hint
    if not isinstance(kind, type):
        return _ANYTHING
    if kind is collections.abc.Callable:
        return Rule("callable", callable)
    if kind is tuple or (issubclass(kind, collections.abc.Sequence) and kind is not str):
        return _sequence_rule(kind, args)
    if issubclass(kind, collections.abc.Mapping):
        return _mapping_rule(args)
    if kind is collections.abc.Iterable:
        return _iterable_rule(args)
    if kind.__module__ == "torch" and kind.__name__ == "Tensor":
        return Rule("a dense tensor of real numbers with values", _is_dense)
    if getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False):
        own = [c for c in kind.__mro__ if getattr(c, "_is_protocol", False)]
        names = [n for c in own for n in (*vars(c), *vars(c).get("__annotations__", ()))]
        members = tuple(dict.fromkeys(n for n in names if not n.startswith("_")))
        return Rule(
            f"a {kind.__name__} (with {', '.join(members)})",
            lambda value: all(hasattr(value, n) for n in members),
        )
    article = "an" if kind.__name__[0] in "AEIOU" else "a"
    return Rule(f"{article} {kind.__name__}", lambda value: isinstance(value, kind))


def _array_rule(args: tuple[Any, ...]) -> Rule:
    scalar = next(iter(typing.get_args(args[1])), Any) if len(args) == 2 else Any
    if not (isinstance(scalar, type) and issubclass(scalar, np.generic)):
        return Rule("a numpy array", lambda v: isinstance(v, np.ndarray) and _real(v))
    if scalar is np.generic:  # labels too
        return Rule("a numpy array", lambda v: isinstance(v, np.ndarray))
    abstract = scalar in (np.floating, np.integer, np.number)

    def allows(value: Any) -> bool:
        if not isinstance(value, np.ndarray) or not _real(value):
            return False
        if abstract:
            return issubclass(value.dtype.type, scalar)
        return bool(np.can_cast(value.dtype, np.dtype(scalar), "same_kind"))

    return Rule(f"a numpy array of {scalar.__name__}", allows)


def _sequence_rule(kind: type, args: tuple[Any, ...]) -> Rule:
    if kind is tuple and args and args[-1] is not Ellipsis:
        each = [_of(arg) for arg in args]
        words = "a tuple of " + ", ".join(rule.words for rule in each)
        return Rule(
            words,
            lambda value: (
                isinstance(value, (tuple, list))
                and len(value) == len(each)
                and all(r.allows(v) for r, v in zip(each, value, strict=True))
            ),
        )
    inner = _of(args[0]) if args else _ANYTHING
    labels = bool(args) and args[0] is object
    if labels:
        inner = _LABEL
    plain: Any = (tuple, list) if kind in (tuple, list) else collections.abc.Sequence
    # an array is not a list, but is accepted like one
    arrays = kind is not tuple and (labels or (bool(args) and args[0] in (int, float, str)))

    def allows(value: Any) -> bool:
        if isinstance(value, str):
            return labels  # one-letter labels
        if isinstance(value, np.ndarray):
            value = value.tolist() if arrays and value.ndim == 1 else None
        return (
            isinstance(value, plain)
            and not isinstance(value, bytes)
            and (inner is _ANYTHING or all(inner.allows(v) for v in value))
        )

    return Rule("a sequence" + (f" of ({inner.words})" if args else ""), allows, arrays)


def _iterable_rule(args: tuple[Any, ...]) -> Rule:
    inner = _of(args[0]) if args else _ANYTHING

    def allows(value: Any) -> bool:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            return False
        if isinstance(value, (list, tuple, set, frozenset)):
            return all(inner.allows(v) for v in value)
        return not hasattr(value, "shape")  # items of a generator are checked where they are read

    return Rule("iterable" + (f" over ({inner.words})" if args else ""), allows)


def _mapping_rule(args: tuple[Any, ...]) -> Rule:
    key, inner = (_of(arg) for arg in args) if len(args) == 2 else (_ANYTHING, _ANYTHING)
    return Rule(
        "a mapping" + (f" of ({key.words}) to ({inner.words})" if args else ""),
        lambda value: (
            isinstance(value, collections.abc.Mapping)
            and all(key.allows(k) and inner.allows(v) for k, v in value.items())
        ),
    )


def _is_label(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _is_integer(value: Any) -> bool:
    if type(value) is int:  # an abstract base class takes ten times as long
        return -(2**63) <= value < 2**63
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return integer and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    if isinstance(value, numbers.Integral):
        return _is_integer(value)
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_path(value: Any) -> bool:
    if not isinstance(value, (str, os.PathLike)):
        return False
    try:
        text = os.fsencode(value)
    except (UnicodeEncodeError, TypeError):
        return False
    if not 0 < len(text) <= _LONGEST_PATH or b"\0" in text:
        return False
    return max(map(len, text.split(os.fsencode(os.sep)))) <= _LONGEST_NAME


def _real(array: np.ndarray) -> bool:
    return array.dtype.kind in "biuf"


def _is_numeric(value: Any) -> bool:
    if value is None or isinstance(value, (str, bytes)):
        return False
    try:
        return _real(np.asarray(value))
    except Exception:  # ragged lists, and foreign arrays that raise their own errors
        return False


def _is_dense(value: Any) -> bool:
    torch = sys.modules["torch"]
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_complex() or value.is_meta)
    )


def _has(*names: str) -> Callable[[Any], bool]:
    return lambda value: (
        all(hasattr(value, name) for name in names) and not isinstance(value, (str, bytes, type))
    )


_ANYTHING = Rule("anything", lambda value: True)
_LABEL = Rule("a label that can be compared", _is_label)
# rules by parameter name, used instead of the annotation
_NAMED = {
    "device": Rule(
        "a device of this machine", lambda value: device_fault(value) is None, remedy=device_fault
    ),
    "tokenizer": Rule("a tokenizer of transformers", _has("pad_token_id", "eos_token_id")),
    "llm": Rule("a language model of transformers", _has("get_input_embeddings", "config")),
}
_SCALAR_TESTS: dict[Any, Callable[[Any], bool]] = {
    int: _is_integer,
    float: _is_number,
    bool: lambda value: isinstance(value, (bool, np.bool_)),
    str: lambda value: isinstance(value, str),
    type(None): lambda value: value is None,
}
