"""Columns of events tables: those that are used, those of BIDS, and close spellings of ours."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence

from ..._progress import say

USED = (
    "onset", "duration", "trial_type", "text", "stimulus", "stim_file", "category", "story",
    "passage", "instruction", "prompt",
)  # fmt: skip
# columns that BIDS defines and that do not matter here
_BIDS = frozenset(
    ("response_time", "value", "sample", "hed", "channel", "stim_id", "event_file", "identifier")
)
_CLOSE = 0.8  # of difflib: "stimuli" is taken for "stimulus", "trial" not for "trial_type"


def unused_columns(columns: Sequence[str]) -> list[str]:
    """List the columns of an events table that are neither used nor defined by BIDS.

    A close spelling of a used column that is missing reads ``instructions (did you mean
    'instruction'?)``.

    Parameters
    ----------
    columns : sequence of str
    """
    others = [name for name in columns if name not in USED and name.casefold() not in _BIDS]
    return [
        f"{name} (did you mean '{close}'?)" if (close := _meant(name, columns)) else name
        for name in others
    ]


def suggestions(columns: Sequence[str]) -> str:
    """Return " Did you mean ..." for close spellings of missing columns, "" without any."""
    close = {name: _meant(name, columns) for name in columns if name not in USED}
    found = [f"'{meant}' by '{name}'" for name, meant in close.items() if meant]
    return f" Did you mean {' and '.join(found)}?" if found else ""


def tell_unused(unused: Counter[str], tables: int) -> None:
    """Print the unused columns of all events tables in one line, if there are any.

    Parameters
    ----------
    unused : Counter of str
        Number of tables with each of :func:`unused_columns`.
    tables : int
        Number of tables that were read.
    """
    if unused:
        listed = [
            name if count == tables else f"{name} in {count} of {tables} tables"
            for name, count in unused.items()
        ]
        say(f"note: columns of the events not used: {', '.join(listed)}")


def _meant(name: str, columns: Iterable[str]) -> str:
    """Return the missing column of ours that a name resembles, "" for none."""
    missing = [own for own in USED if own not in columns]
    close = difflib.get_close_matches(name.strip().casefold(), missing, n=1, cutoff=_CLOSE)
    return close[0] if close else ""
