"""Hostile values, one argument at a time: an error of ours or a usable answer, and nothing else."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import public_api
import pytest
import torch
import valid_calls
from world import World

from fastbrain.errors import FastbrainError

HOSTILE: dict[str, Any] = {
    "None": None,
    "object": object(),
    "zero": 0,
    "three": 3,
    "negative": -1,
    "70 bits": 2**70,
    "fraction": 0.3,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "True": True,
    "empty str": "",
    "str": "no such thing",
    "long str": "x" * 5000,
    "NUL": "a\0b",
    "bytes": b"x",
    "empty list": [],
    "list of None": [None],
    "list of str": ["x"],
    "list of NaN": [float("nan")] * 3,
    "empty dict": {},
    "function": lambda *_args, **_options: None,
    "empty array": np.array([]),
    "array": np.arange(6.0).reshape(2, 3),
    "array of NaN": np.full((2, 3), np.nan),
    "array of int": np.arange(8),
    "array of str": np.array(["a", "b"]),
    "cube of False": np.zeros((4, 4, 4), dtype=bool),
    "empty tensor": torch.empty(0, 4),
    "scalar tensor": torch.tensor(1.0),
    "tensor": torch.ones(2, 3),
    "tensor of NaN": torch.full((2, 4), torch.nan),
    "tensor of int": torch.full((2, 3), 10**6),
    "complex tensor": torch.ones(2, 4, dtype=torch.complex64),
    "sparse tensor": torch.ones(2, 4).to_sparse(),
    "meta tensor": torch.ones(2, 4, device="meta"),
}
NOT_FINITE = {n for n in HOSTILE if "NaN" in n or n == "infinity"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def calls(world: World) -> dict[str, Any]:
    return valid_calls.calls(world)


def test_every_public_function_has_a_valid_call(calls: dict[str, Any]) -> None:
    names = set(public_api.functions())
    assert not set(calls) & valid_calls.BY_TYPE_ONLY
    assert names == set(calls) | valid_calls.BY_TYPE_ONLY


NAMES = sorted(set(public_api.functions()) - valid_calls.BY_TYPE_ONLY)


@pytest.mark.parametrize("name", sorted(set(NAMES) - valid_calls.REFUSED))
def test_valid_calls_are_valid(name: str, calls: dict[str, Any]) -> None:
    args, options = _arguments(public_api.functions()[name], calls[name]())
    public_api.functions()[name](*args, **options)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_arguments(
    name: str, calls: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = public_api.functions()[name]
    problems = []
    for parameter in public_api.parameters(target):
        for kind, value in HOSTILE.items():
            fault = _fault(target, {**calls[name](), parameter: value}, kind in NOT_FINITE)
            if fault is not None:
                problems.append(f"{parameter}={kind}: {fault}")
    assert not problems, "\n".join([f"{len(problems)} of {name}", *problems])
    written = [path.name for path in tmp_path.iterdir()]
    # a name is a path to those that write
    assert not written or (name.startswith("write_") and written == [HOSTILE["str"]])


def _fault(target: Any, given: dict[str, Any], may_be_nan: bool) -> str | None:
    """What is wrong with the outcome of a call, or None."""
    args, options = _arguments(target, given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            answer = target(*args, **options)
        except FastbrainError:
            return None
        except Exception as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return "NaN in the answer" if not may_be_nan and _holds_nan(answer) else None


def _arguments(target: Any, given: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and named arguments of a call; what a star collects stands under its name."""
    args: list[Any] = []
    for name, one in public_api.parameters(target).items():
        if one.kind is inspect.Parameter.VAR_POSITIONAL and name in given:
            found = given.pop(name)
            args += found if isinstance(found, tuple) else [found]
        elif one.kind is inspect.Parameter.VAR_KEYWORD and name in given:
            found = given.pop(name)
            given = {**given, **(found if isinstance(found, dict) else {})}
        elif args == [] and one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and name == "op":
            args.append(given.pop(name))
    return args, given


def _holds_nan(value: Any, depth: int = 0) -> bool:
    if depth > 4 or value is None or isinstance(value, (str, bytes, int, Path)):
        return False
    if isinstance(value, float):
        return value != value
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and bool(value.isnan().any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and bool(np.isnan(value).any())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, f.name) for f in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        return False
    return any(_holds_nan(part, depth + 1) for part in parts)


@pytest.mark.parametrize("name", sorted(public_api.dataclasses_with_checks()))
def test_hostile_fields(name: str, tmp_path: Path) -> None:
    target = public_api.dataclasses_with_checks()[name]
    described = public_api.parameters(target)
    required = {
        field: public_api.example(target, one, tmp_path)
        for field, one in described.items()
        if one.default is inspect.Parameter.empty
    }
    problems = []
    for field, one in described.items():
        if public_api.anything(target, one):
            continue  # a field of a library's own class
        for kind, value in HOSTILE.items():
            fault = _fault(target, {**required, field: value}, may_be_nan=False)
            if fault is not None:
                problems.append(f"{field}={kind}: {fault}")
    assert not problems, "\n".join([f"{len(problems)} of {name}", *problems])
