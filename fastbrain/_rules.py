"""What an entry of a JSON file must be: functions from a value to whether it is one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any], bool]


def text(value: Any) -> bool:
    """A string that can be written to a file, without zero bytes."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def number(value: Any) -> bool:
    """A finite number, no bool."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def count(value: Any) -> bool:
    """A whole number, 0 or more, that fits into 64 bits."""
    return isinstance(value, int) and number(value) and value >= 0


def positive(value: Any) -> bool:
    """A whole number, 1 or more, that fits into 64 bits."""
    return count(value) and value > 0


def flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def none_or(rule: Rule) -> Rule:
    """Null, or what `rule` accepts."""
    return lambda value: value is None or rule(value)


def list_of(rule: Rule, *, least: int = 0) -> Rule:
    """A list of at least `least` values that `rule` accepts."""
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(rule, value))


def table_of(rule: Rule) -> Rule:
    """An object whose values `rule` accepts."""
    return lambda value: (
        isinstance(value, dict) and all(text(k) and rule(v) for k, v in value.items())
    )


def record_of(rules: Mapping[str, Rule], *, optional: Mapping[str, Rule] | None = None) -> Rule:
    """An object with at least these keys, each of which its rule accepts."""

    def accept(value: Any) -> bool:
        return isinstance(value, dict) and not fault_in(value, rules, optional or {})

    return accept


def exact_record_of(rules: Mapping[str, Rule]) -> Rule:
    """An object with these keys and no others, each of which its rule accepts."""
    accept = record_of(rules)
    return lambda value: accept(value) and value.keys() == rules.keys()


def fault_in(
    value: Mapping[str, Any], rules: Mapping[str, Rule], optional: Mapping[str, Rule]
) -> str:
    """The first key that is missing or of another kind, "" if none."""
    for key, rule in rules.items():
        if key not in value or not rule(value[key]):
            return key
    return next((k for k, rule in optional.items() if k in value and not rule(value[k])), "")
