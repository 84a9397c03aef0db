"""Faults of a rehearsal: which volumes are lost, come twice, are overtaken or damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from ...errors import ConfigError
from ..session.records import Status

_LAST = 2  # volumes at the end without faults: a later one shows what is missing


@dataclass(frozen=True)
class FaultRates:
    """Shares of the volumes with each fault, 0..1, together at most 0.5.

    Parameters
    ----------
    drops : float
        The volume never comes.
    duplicates : float
        It comes twice.
    swaps : float
        It comes after the next one.
    truncated : float
        Its file ends in the middle.
    half_written : float
        Its file is written in pieces: no fault if a reader waits for the last one.
    """

    drops: float = 0.0
    duplicates: float = 0.0
    swaps: float = 0.0
    truncated: float = 0.0
    half_written: float = 0.0

    def __post_init__(self) -> None:
        values = [getattr(self, field.name) for field in fields(self)]
        # a swap takes two volumes
        if not all(value >= 0 for value in values) or not sum(values) + self.swaps <= 0.5:
            raise ConfigError(
                f"FaultRates: rates must be 0 or more and together at most 0.5, got {values}. "
                "Lower them."
            )

    @classmethod
    def parse(cls, text: str) -> FaultRates:
        """Read the rates from text.

        Parameters
        ----------
        text : str
            ``"usual"``: 5 % drops, 1 % duplicates, 2 % swaps, 1 % truncated, 1 % half-written. Or
            pairs such as ``"drops=0.1,swaps=0.02"``; "" is none.

        Raises
        ------
        ConfigError
            A name or a number is none.
        """
        if text == "usual":
            return cls(0.05, 0.01, 0.02, 0.01, 0.01)
        known = [field.name for field in fields(cls)]
        rates: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            name = name.strip().replace("-", "_")
            try:
                rates[name] = float(value)
            except ValueError:
                rates[name] = -1.0
            if name not in known or not rates[name] >= 0:
                raise ConfigError(
                    f"live: faults must be 'usual' or pairs of {', '.join(known)} with a share, "
                    f"got {part!r}. For example --faults drops=0.05,swaps=0.02"
                )
        return cls(**rates)


@dataclass(frozen=True)
class FaultPlan:
    """The faults of each volume of a rehearsal.

    Parameters
    ----------
    volumes : int
    kinds : mapping of int to str
        Volume number to the name of its fault, as in :class:`FaultRates`.
    """

    volumes: int
    kinds: Mapping[int, str]

    @classmethod
    def draw(cls, volumes: int, rates: FaultRates, *, seed: int = 0) -> FaultPlan:
        """Draw the faults; of each kind with a rate there is at least one, if there is room."""
        rng = np.random.default_rng(seed)
        usable = volumes - _LAST
        kinds: dict[int, str] = {}
        free = rng.permutation(max(usable, 0)).tolist()
        for name in ("swaps", "truncated", "duplicates", "half_written", "drops"):
            rate = getattr(rates, name)
            wanted = max(1, round(rate * volumes)) if rate else 0
            for index in list(free):
                if not wanted:
                    break
                # the one that overtakes it has no fault of its own
                taken = {index, index + 1} if name == "swaps" else {index}
                if taken <= set(free):
                    kinds[index] = name
                    wanted -= 1
                    free = [i for i in free if i not in taken]
        return cls(volumes, kinds)

    @property
    def labels(self) -> dict[int, Status]:
        """Status that the record of each volume with a fault must have."""
        return {i: _LABELS[kind] for i, kind in self.kinds.items() if kind in _LABELS}


_LABELS: dict[str, Status] = {
    "drops": "dropped",
    "duplicates": "duplicate",
    "swaps": "out_of_order",
    "truncated": "bad_volume",
}
