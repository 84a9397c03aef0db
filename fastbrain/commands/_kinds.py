"""Options that a command has for some kinds of runs only, and which of them were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from ..errors import ConfigError


def given_options(config: Any, names: Sequence[str]) -> list[str]:
    """Return options that differ from their defaults, as they are typed: ``--some-name``.

    Parameters
    ----------
    config : dataclass
        Options of a command.
    names : sequence of str
        Fields of it; those without a plain default are left out.
    """
    defaults = {f.name: f.default for f in fields(config) if f.default is not MISSING}
    given = [n for n in names if n in defaults and getattr(config, n) != defaults[n]]
    # tyro calls the option of a switch that is on --no-NAME
    switched = {n for n in given if defaults[n] is True}
    return [f"--{'no-' if n in switched else ''}{n.replace('_', '-')}" for n in given]


def refuse_options(config: Any, names: Sequence[str], *, function: str, kind: str) -> None:
    """Raise if an option was given that a kind of run does not have.

    Parameters
    ----------
    config : dataclass
        Options of a command.
    names : sequence of str
        Options that the kind does not have; each has a default.
    function : str
        Name of the command.
    kind : str
        Kind of the run.

    Raises
    ------
    ConfigError
        One of them has another value than its default.
    """
    if given := given_options(config, names):
        raise ConfigError(f"{function}: {', '.join(given)} must be left out for a run of {kind}.")
