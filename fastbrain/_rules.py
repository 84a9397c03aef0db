"""Validation rules for entries of JSON files: functions that return whether a value is valid."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from .errors import FastbrainError

Rule = Callable[[Any], bool]


def text(value: Any) -> bool:
    """Accept a string that can be encoded as UTF-8, without zero bytes."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def number(value: Any) -> bool:
    """Accept a finite number, but no bool."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def count(value: Any) -> bool:
    """Accept an integer, 0 or more, that fits into 64 bits."""
    return isinstance(value, int) and number(value) and value >= 0


def positive(value: Any) -> bool:
    """Accept an integer, 1 or more, that fits into 64 bits."""
    return count(value) and value > 0


def flag(value: Any) -> bool:
    """Accept True or False."""
    return isinstance(value, bool)


def anything(value: Any) -> bool:
    """Accept every value, where a class checks it itself."""
    return True


def none_or(rule: Rule) -> Rule:
    """Make a rule that accepts null and the values that `rule` accepts."""
    return lambda value: value is None or rule(value)


def list_of(rule: Rule, *, least: int = 0) -> Rule:
    """Make a rule for a list of at least `least` values that `rule` accepts."""
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(rule, value))


def table_of(rule: Rule) -> Rule:
    """Make a rule for an object with values that `rule` accepts."""
    return lambda value: (
        isinstance(value, dict) and all(text(k) and rule(v) for k, v in value.items())
    )


def record_of(rules: Mapping[str, Rule], *, optional: Mapping[str, Rule] | None = None) -> Rule:
    """Make a rule for an object with at least these keys and valid values."""

    def accept(value: Any) -> bool:
        return isinstance(value, dict) and not fault_in(value, rules, optional or {})

    return accept


def exact_record_of(rules: Mapping[str, Rule]) -> Rule:
    """Make a rule for an object with exactly these keys and valid values."""
    accept = record_of(rules)
    return lambda value: accept(value) and value.keys() == rules.keys()


def fault_in(
    value: Mapping[str, Any], rules: Mapping[str, Rule], optional: Mapping[str, Rule]
) -> str:
    """Return the first key that is missing or has an invalid value, "" if there is none."""
    for key, rule in rules.items():
        if key not in value or not rule(value[key]):
            return key
    return next((k for k, rule in optional.items() if k in value and not rule(value[k])), "")


def checked_record(
    value: Any,
    rules: Mapping[str, Rule],
    *,
    where: str,
    error: type[FastbrainError],
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """Return an object with exactly the keys of `rules`, and valid values.

    Parameters
    ----------
    value : object
    rules : mapping of str to callable
    where : str
        Function and class, for messages.
    error : type of FastbrainError
    optional : collection of str
        Keys that may be missing.

    Raises
    ------
    FastbrainError
        Of type `error`: a key is missing or unknown, or a value is invalid.
    """
    if not isinstance(value, Mapping) or not (
        rules.keys() - set(optional) <= value.keys() <= rules.keys()
    ):
        got = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise error(f"{where}: keys must be {sorted(rules)}, got {got}.")
    for name, entry in value.items():
        if not rules[name](entry):
            raise error(f"{where}: {name} has the wrong type or value, got {entry!r:.80}.")
    return dict(value)
