"""Annotations as contracts: what each kind of annotation allows, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from fastbrain._arguments import checked
from fastbrain.errors import ConfigError, InputError


class Reader(Protocol):
    def read(self) -> str: ...


class _File:
    def read(self) -> str:
        return ""


@checked(least={"count": 2})
def called(
    *,
    count: int = 2,
    share: float = 1.0,
    on: bool = True,
    name: str = "",
    path: str | Path = "x",
    kind: Literal["a", 1] = "a",
    names: Sequence[str] = (),
    labels: Sequence[object] = (),
    numbers: Sequence[float] = (),
    pair: tuple[int, str] = (1, "a"),
    table: Mapping[str, int] | None = None,
    items: Iterable[int] = (),
    values: npt.ArrayLike = 0,
    mask: npt.NDArray[np.bool_] | None = None,
    anything: npt.NDArray[np.generic] | None = None,
    tensor: Tensor | None = None,
    function: Callable[..., Any] | None = None,
    reader: Reader | None = None,
    free: Any = None,
    seed: int = 0,
    device: str = "cpu",
    unknown: Missing | None = None,  # noqa: F821
) -> str:
    """Does nothing with its arguments."""
    return "ran"


ALLOWED = {
    "count": [2, np.int64(7)],
    "share": [0, 0.5, np.float32(1), -3],
    "on": [False, np.True_],
    "path": ["a/b", Path("c")],
    "kind": ["a", 1],
    "names": [[], ("a",), ["a", np.str_("b")], np.array(["a", "b"])],
    "labels": ["abab", [1, "a", None], np.arange(3), range(3)],
    "numbers": [[1, 2.5], np.arange(3.0)],
    "pair": [(1, "a"), [2, "b"]],
    "table": [{}, {"a": 1}, None],
    "items": [[1], {2}, iter(["not looked at"])],
    "values": [1.0, [[1], [2]], np.ones(3, dtype=bool), torch.ones(2)],
    "mask": [np.ones(2, dtype=bool)],
    "anything": [np.array(["a"]), np.ones(2)],
    "tensor": [torch.ones(0), torch.ones(2, dtype=torch.int16)],
    "function": [len],
    "reader": [_File()],
    "free": [object()],
    "seed": [0],
    "device": ["cpu:0", torch.device("cpu")],
    "unknown": [object()],
}
REFUSED = {
    "count": [1, True, 2.0, "2", 2**63, None],
    "share": [float("nan"), float("inf"), True, "1", 10**400, 1j],
    "on": [1, "yes", None],
    "name": [b"x", 1, Path("x")],
    "path": ["", "a\0b", "x" * 256, Path("x" * 256), "y/" * 2048, b"x", "\ud800", 3],
    "kind": ["b", 2, True, None],
    "names": ["ab", [1], {"a": 1}, {"a"}, np.array([["a"]]), None],
    "labels": [[[]], {"a": 1}, np.ones((2, 2)), 5],
    "numbers": [["a"], [float("nan")], np.array([np.nan]), torch.ones(2)],
    "pair": [(1,), (1, 2), 3],
    "table": [{"a": "b"}, {1: 1}, []],
    "items": ["ab", [None], np.arange(3), 1],
    "values": ["x", None, object(), [[1], [2, 3]], [1j], torch.ones(2).to_sparse()],
    "mask": [[True], np.ones(2)],
    "anything": [["a"]],
    "tensor": [np.ones(2), torch.ones(2, device="meta"), torch.ones(2).to_sparse(), 1j],
    "function": [3],
    "reader": [object()],
    "seed": [-1, 2**70],
    "device": ["gpu", "cuda:99", "meta", "", 0, 2**70],
}


def cases(table: dict[str, list[object]]) -> list[object]:
    # an address in a name would differ between the processes that share the tests
    return [
        pytest.param(name, value, id=f"{name}-{place}")
        for name, values in table.items()
        for place, value in enumerate(values)
    ]


@pytest.mark.parametrize(("name", "value"), cases(ALLOWED))
def test_what_the_annotation_allows_is_passed_on(name, value):
    assert called(**{name: value}) == "ran"


@pytest.mark.parametrize(("name", "value"), cases(REFUSED))
def test_what_it_does_not_allow_is_refused(name, value):
    with pytest.raises(InputError, match=rf"^called: {name} must be .*, got .*\. "):
        called(**{name: value})


@pytest.mark.parametrize("given", [np.arange(3), np.ones(2), np.array([])])
def test_an_array_of_one_axis_is_handed_on_as_a_list(given):
    @checked
    def told(labels: Sequence[object], values: npt.ArrayLike) -> tuple[Any, Any]:
        return labels, values

    labels, values = told(given, given)
    assert labels == given.tolist()
    assert type(labels) is list
    assert values is given


def test_a_wrong_number_of_arguments_is_pythons_own_error():
    with pytest.raises(TypeError, match="nothing"):
        called(nothing=1)
    with pytest.raises(TypeError, match="positional"):
        called(1)


def test_signature_and_name_stay():
    import inspect

    assert called.__name__ == "called"
    assert list(inspect.signature(called).parameters)[:2] == ["count", "share"]


def test_fields_of_a_dataclass_and_of_its_base_are_checked():
    @dataclass(frozen=True)
    class Base:
        size: int = 1

    @checked(error=ConfigError)
    @dataclass(frozen=True)
    class Config(Base):
        rate: float = 0.1

    assert replace(Config(), size=3) == Config(3)
    for wrong in ({"size": "3"}, {"rate": None}):
        with pytest.raises(ConfigError, match="Config: "):
            Config(**wrong)
    with pytest.raises(ConfigError, match="rate must be"):
        replace(Config(), rate=float("nan"))


def test_long_values_are_cut_in_messages():
    with pytest.raises(InputError) as caught:
        called(kind="x" * 10_000)
    assert len(str(caught.value)) < 300
