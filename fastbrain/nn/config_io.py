"""Convert configuration dataclasses to JSON values and back."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from typing import Any, TypeVar

from ..errors import ConfigError

C = TypeVar("C")


def require(config: object, name: str, holds: bool, contract: str) -> None:
    """Raise a :class:`ConfigError` that names the field unless `holds` is true."""
    if not holds:
        raise ConfigError(
            f"{type(config).__name__}: {name} must {contract}, got {getattr(config, name)!r}."
        )


def to_dict(config: Any) -> dict[str, Any]:
    """Convert a frozen dataclass, nested ones included, to plain JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


def from_dict(
    cls: type[C], values: Mapping[str, Any], *, where: str = "", base: C | None = None
) -> C:
    """Rebuild a frozen dataclass from JSON values; unknown keys raise an error.

    Parameters
    ----------
    cls : type
        A frozen dataclass.
    values : mapping
        Fields by name. A missing field keeps its default, also in nested dataclasses.
    where : str
        Path of this part in the whole configuration, for error messages.
    base : object, optional
        Instance that supplies missing fields, in place of the defaults of the class.

    Raises
    ------
    ConfigError
        A key is unknown (the message suggests the closest known one), a required key is missing,
        or a value has the wrong type.
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
        default = _default(spec) if base is None else getattr(base, name)
        if name in values:
            arguments[name] = _convert(hints[name], values[name], f"{label}.{name}", default)
        elif default is MISSING:
            raise ConfigError(f"config: {label} must have key '{name}', got none.")
        else:
            arguments[name] = default
    return cls(**arguments)


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """Return a sentence that names the closest known word, or all known words."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}."


def _default(spec: Field[Any]) -> Any:
    return spec.default if spec.default_factory is MISSING else spec.default_factory()


def _convert(hint: Any, value: Any, where: str, default: Any = MISSING) -> Any:
    if is_dataclass(hint):
        return _part(hint, value, where, default)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        if is_dataclass(option) and isinstance(value, Mapping):
            return _part(option, value, where, default)
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            inner = typing.get_args(option)[0]
            return tuple(_convert(inner, item, where) for item in value)
        # Python counts a bool as an int; in a configuration that is a mistake
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        option = typing.get_origin(option) or option
        if isinstance(option, type) and isinstance(value, option):
            if isinstance(value, bool) and option is not bool:
                continue
            return value
    raise ConfigError(f"config: {where} must be {hint}, got {value!r}.")


def _part(cls: Any, value: Any, where: str, default: Any) -> Any:
    base = default if isinstance(default, cls) else None
    return from_dict(cls, value, where=where, base=base)
