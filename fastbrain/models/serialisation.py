"""The one way a configuration goes to JSON and comes back."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, TypeVar

from ..errors import ConfigError

C = TypeVar("C")


def require(config: object, name: str, holds: bool, contract: str) -> None:
    """Raise a :class:`ConfigError` naming the field unless it holds."""
    if not holds:
        raise ConfigError(
            f"{type(config).__name__}: {name} must {contract}, got {getattr(config, name)!r}."
        )


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a frozen dataclass (nested ones too) into plain JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def from_dict(cls: type[C], values: Mapping[str, Any], *, where: str = "") -> C:
    """Rebuild a frozen dataclass from JSON values, refusing what it does not know.

    Parameters
    ----------
    cls : type
        A frozen dataclass.
    values : mapping
        Fields by name; fields left out keep their default.
    where : str
        Path of this part within the whole, for messages.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest known one is suggested), required and missing, or of the
        wrong type.
    """
    label = where or cls.__name__
    if not isinstance(values, Mapping):
        raise ConfigError(f"config: {label} must be an object, got {type(values).__name__}.")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"config: {label} must not have key '{key}'.{suggest(key, known)}")
    hints = typing.get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for name, spec in known.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], f"{label}.{name}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise ConfigError(f"config: {label} must have key '{name}', got none.")
    return cls(**arguments)


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Sentence naming the closest known word, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}."


def _convert(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return from_dict(hint, value, where=where)  # type: ignore[arg-type]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if is_dataclass(option) and isinstance(value, Mapping):
            return from_dict(option, value, where=where)  # type: ignore[arg-type]
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)[0]
            return tuple(_convert(inner, item, where) for item in value)
        # a bool is an int to Python and a mistake in a configuration
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        option = typing.get_origin(option) or option
        if isinstance(option, type) and isinstance(value, option):
            if isinstance(value, bool) and option is not bool:
                continue
            return value
    raise ConfigError(f"config: {where} must be {hint}, got {value!r}.")
