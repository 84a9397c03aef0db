"""Bytes, operations and time of an op on a shape, without running it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from ..errors import InputError
from .rows import OURS, Row, device_of, is_timed, threads_in_words
from .work import work_of

ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Estimate:
    """What a shape needs, and how long that takes on a machine.

    Parameters
    ----------
    flops, traffic : float
        Operations, and bytes through main memory.
    intensity : float
        Operations a byte.
    bound : str
        ``"memory"`` or ``"compute"``: what limits the time.
    least_ms : float
        Time on the roofline.
    share : float or None
        Median share of the roofline that fastbrain reaches on the op in the rows.
    expected_ms : float or None
        `least_ms` over `share`.
    rows : int
        From how many rows `share` is.
    """

    flops: float
    traffic: float
    intensity: float
    bound: str
    least_ms: float
    share: float | None
    expected_ms: float | None
    rows: int


def machine_best(rows: Sequence[Row], dtype: str) -> tuple[dict[str, float], str, list[Row]]:
    """Best of the machine of the newest roofline row of a precision.

    Returns
    -------
    dict of float
        ``bytes`` and ``flops`` a second.
    str
        Name of the machine, with its threads.
    list of dict
        The rows of the same machine with as many threads.

    Raises
    ------
    InputError
        The rows have no roofline of this precision.
    """
    found = [row for row in rows if row["op"] == "roofline" and row.get("case") == dtype]
    if not found:
        raise InputError(
            f"bench estimate: rows must hold a roofline in {dtype}, got none. `fastbrain bench run "
            f"--dtype {dtype}` measures it; without --rows it is measured at once."
        )
    newest = found[-1]
    where = _place(newest)
    own = [row for row in rows if _place(row) == where]
    best = {"bytes": newest["gbytes"] * 1e9, "flops": newest["gflops"] * 1e9}
    return best, f"{where[0]}, {threads_in_words(where[1])}", own


def _place(row: Row) -> tuple[str, int | None]:
    return device_of(row), row["env"].get("threads")


def estimate(
    op: str, shape: str, best: dict[str, float], *, dtype: str = "float32", rows: Iterable[Row] = ()
) -> Estimate:
    """Predict the time of an op from its shape and the best of a machine.

    Parameters
    ----------
    op, shape : str
        As cases are named: ``"vq_lookup"``, ``"4096x8192x64"``.
    best : dict of float
        ``bytes`` and ``flops`` a second.
    dtype : str
    rows : iterable of dict
        Measured rows: they give the share of the roofline that the op usually reaches.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        The op is unknown or the shape cannot be read.
    """
    need = work_of(op, shape, ITEM_BYTES[dtype])
    times = {"compute": need.flops / best["flops"], "memory": need.traffic / best["bytes"]}
    bound = max(times, key=lambda name: times[name])
    shares = [
        row["roofline"]
        for row in rows
        if row["op"] == op and row.get("provider") == OURS and is_timed(row) and row["roofline"]
        if row.get("dtype") in (dtype, None)
    ]
    share = median(shares) if shares else None
    least_ms = times[bound] * 1e3
    return Estimate(
        need.flops,
        need.traffic,
        need.flops / need.traffic,
        bound,
        least_ms,
        share,
        None if share is None else least_ms / share,
        len(shares),
    )
