"""Options that a command has for some kinds of runs only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

from ..errors import ConfigError


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
    defaults = {f.name: f.default for f in fields(config) if f.default is not MISSING}
    given = [n for n in names if n in defaults and getattr(config, n) != defaults[n]]
    if given:
        switched = {n for n in given if defaults[n] is True}  # tyro calls their option --no-NAME
        named = [f"no-{n}" if n in switched else n for n in given]
        options = ", ".join(f"--{name.replace('_', '-')}" for name in named)
        raise ConfigError(f"{function}: {options} must be left out for a run of {kind}.")
