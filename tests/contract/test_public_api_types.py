"""An annotation is a promise: what it does not allow is refused, by name, before any work."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import public_api
import pytest
import valid_calls

from fastbrain.errors import FastbrainError


def _targets() -> dict[str, Any]:
    """Functions whose calls are too long for a table of values, and dataclasses."""
    long = {n: f for n, f in public_api.functions().items() if n in valid_calls.BY_TYPE_ONLY}
    return long | public_api.dataclasses_with_checks()


def _cases() -> list[tuple[str, str]]:
    return [
        (name, parameter)
        for name, target in _targets().items()
        for parameter, described in public_api.parameters(target).items()
        if not public_api.anything(target, described)
        and described.kind is not inspect.Parameter.VAR_KEYWORD
    ]


@pytest.mark.parametrize(("name", "parameter"), _cases())
def test_a_value_of_another_type_is_refused(name: str, parameter: str, tmp_path: Path) -> None:
    target = _targets()[name]
    described = public_api.parameters(target)
    given: dict[str, Any] = {
        other: public_api.example(target, one, tmp_path)
        for other, one in described.items()
        if one.default is inspect.Parameter.empty
    }
    with pytest.raises(FastbrainError) as caught:
        _call(target, described, {**given, parameter: object()})
    assert re.search(rf"\b{parameter}\b", str(caught.value))
    assert not list(tmp_path.iterdir())


def _call(target: Any, described: dict[str, inspect.Parameter], given: dict[str, Any]) -> Any:
    args = []
    for name, one in described.items():
        if one.kind is inspect.Parameter.VAR_POSITIONAL and name in given:
            args.append(given.pop(name))
        elif one.kind is inspect.Parameter.POSITIONAL_ONLY:
            args.append(given.pop(name))
    return target(*args, **given)
