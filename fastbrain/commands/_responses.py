"""Options of the haemodynamic response: lags after onset, or betas of single trials."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ResponseOptions:
    """What a window holds of the response to a stimulus."""

    fir: tuple[float, ...] = ()
    """Lags after onset of the volumes of a window, seconds, one repetition time apart, in place of
    --delay and --window: 4 6 8 10 at TR 2."""
    betas: bool = False
    """Images of the runs table are betas of single trials (GLMsingle, NSD), one volume for each row
    of the events table."""
    beta_divisor: float = 1.0
    """With --betas: stored units per percent signal change; 300 for files of NSD."""
