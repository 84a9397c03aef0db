"""The public functions and checked dataclasses of the package, and examples of their types."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

MODULES = (
    "fastbrain",
    "fastbrain.ops",
    "fastbrain.data",
    "fastbrain.nn",
    "fastbrain.lm",
    "fastbrain.stats",
    "fastbrain.llm4brain",
    "fastbrain.llm4brain.training",
    "fastbrain.brainllm",
    "fastbrain.brainllm.training",
    "fastbrain.vqlm",
    "fastbrain.vqlm.training",
    "fastbrain.encoding_model",
    "fastbrain.training",
    "fastbrain.decoding",
    "fastbrain.evaluation",
    "fastbrain.integrations.peft",
    "fastbrain.integrations.vllm",
    "fastbrain.realtime",
    "fastbrain.bench",
)


def functions() -> dict[str, Any]:
    """Every function of the lists of public names."""
    return {name: value for name, value in _listed() if inspect.isfunction(value)}


def dataclasses_with_checks() -> dict[str, Any]:
    """Every public dataclass that looks at its fields; the others only hold what they are given."""
    return {
        name: value
        for name, value in _listed()
        if dataclasses.is_dataclass(value) and "__post_init__" in vars(value)
    }


def _listed() -> Iterator[tuple[str, Any]]:
    for module in MODULES:
        held = importlib.import_module(module)
        for name in held.__all__:
            value = getattr(held, name)
            if getattr(value, "__module__", "").startswith("fastbrain"):
                yield name, value


def parameters(target: Any) -> dict[str, inspect.Parameter]:
    """Parameters by name."""
    return dict(inspect.signature(target).parameters)


def leaves(target: Any, parameter: inspect.Parameter) -> list[Any]:
    """Parts of an annotation: types, or the text where there is no type."""
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        return [annotation]
    annotating = [
        base
        for base in getattr(target, "__mro__", (target,))
        if parameter.name in inspect.get_annotations(base)
    ]
    scope = vars(sys.modules[(annotating or [target])[0].__module__])
    parts, found = [ast.parse(annotation, mode="eval").body], []
    while parts:
        part = parts.pop(0)
        if isinstance(part, ast.BinOp):
            parts = [part.left, part.right, *parts]
            continue
        text = ast.unparse(part)
        try:
            found.append(text if text.endswith("ArrayLike") else eval(text, scope))
        except NameError:
            found.append(text)
    flat: list[Any] = []
    for hint in found:
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        flat += typing.get_args(hint) if union else [hint]
    return flat


def anything(target: Any, parameter: inspect.Parameter) -> bool:
    """Whether the annotation allows every value, or cannot be read."""
    return any(
        hint in (Any, object)
        or isinstance(hint, typing.TypeVar)
        or (isinstance(hint, str) and not hint.endswith("ArrayLike"))
        for hint in leaves(target, parameter)
    )


def example(target: Any, parameter: inspect.Parameter, folder: Path) -> Any:
    """Something of the annotated type; objects of classes are not initialised."""
    return _example(leaves(target, parameter)[0], folder)


def _example(hint: Any, folder: Path) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    plain = {int: 1, float: 1.0, str: "x", bool: False, Path: folder / "x", type(None): None}
    if hint in plain:
        return plain[hint]
    if hint in (Any, object) or isinstance(hint, str):
        return np.ones((2, 2)) if isinstance(hint, str) else object()
    if origin is typing.Literal:
        return args[0]
    if origin is np.ndarray or hint is np.ndarray:
        scalar = typing.get_args(args[1])[0] if len(args) == 2 else float
        known = isinstance(scalar, type) and issubclass(scalar, np.generic)
        concrete = known and scalar not in (np.floating, np.generic)
        return np.ones((2, 2), dtype=scalar if concrete else float)
    if hint is torch.Tensor:
        return torch.ones(2, 2)
    kind = origin or hint
    if kind is tuple:
        return () if not args or args[-1] is ... else tuple(_example(a, folder) for a in args)
    if kind is collections.abc.Callable:
        return lambda *_args, **_options: None
    if issubclass(kind, collections.abc.Mapping):
        return {}
    if issubclass(kind, collections.abc.Iterable) and kind.__module__ in (
        "collections.abc",
        "builtins",
    ):
        return []
    if getattr(kind, "_is_protocol", False):
        own = [c for c in kind.__mro__ if getattr(c, "_is_protocol", False)]
        members = [n for c in own for n in (*vars(c), *vars(c).get("__annotations__", ()))]
        names = {n: lambda *_a: None for n in members if not n.startswith("_")}
        return types.SimpleNamespace(**names)
    return kind.__new__(kind)
