"""Times after which the record of a TR is closed."""

from __future__ import annotations

from dataclasses import dataclass

# Without growth for so long, an incomplete file is damaged. That is known before the second later
# volume comes, so its TR is labelled as unreadable and not as missing.
PATIENCE_TRS = 1.2


@dataclass(frozen=True)
class Limits:
    """Times after which a TR is closed, seconds.

    Parameters
    ----------
    tr_s : float
    deadline_s : float
        From the complete volume to the result; a later result is late.
    missing_s : float
        From the first later volume to the end of waiting for a missing one.
    give_up_s : float
        From the complete volume to the end of waiting for a result.
    """

    tr_s: float
    deadline_s: float
    missing_s: float
    give_up_s: float

    @classmethod
    def of(cls, tr_s: float, deadline_s: float | None = None) -> Limits:
        """Limits for a repetition time: deadline one TR, missing after 1.5, given up after 5."""
        deadline = tr_s if deadline_s is None else deadline_s
        return cls(tr_s, deadline, 1.5 * tr_s, max(5 * tr_s, 2 * deadline))
