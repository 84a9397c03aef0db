"""What the timing of one entry may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import time

NO_TIME = "no time left"


@dataclass(frozen=True)
class Limits:
    """What one entry may take.

    Parameters
    ----------
    call_s : float
        A provider with a longer call is dropped; and no provider is timed for longer in all.
    factor : float
        A provider so many times slower than the fastest is dropped; ours never is for that.
    deadline : float
        Seconds since the epoch after which nothing new begins.
    graphs : bool
        Whether to time replays of CUDA graphs as well.
    """

    call_s: float = math.inf
    factor: float = math.inf
    deadline: float = math.inf
    graphs: bool = False

    @property
    def spent(self) -> bool:
        """Whether the deadline has passed."""
        return time() > self.deadline


class SpoiltContext(Exception):
    """The GPU refuses everything after an illegal access: only another process can go on."""
