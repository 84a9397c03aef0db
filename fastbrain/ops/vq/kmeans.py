"""Initialisation of a codebook by k-means, and replacement of dead codes.

Initialisation: Lloyd's algorithm (Lloyd 1982, doi:10.1109/TIT.1982.1056489) from distinct random
rows.
Replacement: random restarts (Dhariwal et al. 2020, arXiv 2005.00341, 3.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist

from ...errors import InputError
from .. import _checks, _dispatch
from . import update
from .lookup import vq_lookup
from .state import UpdateProblem, VQState

_MOST_ITERATIONS, _MOST_COUNT = 100_000, 1e9


def vq_init(
    x: Tensor,
    codes: int,
    *,
    iterations: int = 10,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> VQState:
    """Make a codebook by k-means, starting from distinct random rows.

    The same generator gives the same codebook.

    Parameters
    ----------
    x : Tensor, (..., D) float
    codes : int
        At least 1 and at most the number of unmasked rows.
    iterations : int
        Number of k-means steps.
    generator : Generator, optional
        On the device of `x`.
    mask : Tensor, (...) bool, optional
        False leaves a row out.
    group : ProcessGroup, optional
        Processes that contribute rows, concatenated in the order of their ranks. All receive the
        state computed by the first process with its generator, bit for bit. Default: this process
        alone.

    Returns
    -------
    VQState
        Codes (C, D) in float32 (float64 for float64 rows), count and total of the last step. A
        code with no nearest rows in any step is still its initial row, with a count of 0.

    Raises
    ------
    InputError
    """
    function = "vq_init"
    update.check_sums(function, x, mask)
    update.check_group(function, group)
    update.check_generator(function, generator)
    x = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    if group is not None:
        x, mask = _of_all(x if mask is None else x[mask], group), None
    rows = x.shape[:-1].numel()
    if mask is not None and _checks.readable(mask):
        rows = int(mask.sum())
    if isinstance(codes, bool) or not isinstance(codes, int) or not 1 <= codes <= rows:
        raise InputError(
            f"{function}: codes must be an int in [1, {rows}], got {codes!r}. "
            "A codebook starts from distinct rows."
        )
    if not isinstance(iterations, int) or not 0 <= iterations <= _MOST_ITERATIONS:
        raise InputError(
            f"{function}: iterations must be an int in [0, {_MOST_ITERATIONS}], got "
            f"{iterations!r}. Codes settle within tens of moves."
        )
    start, _ = _random_rows(x, codes, generator, mask)
    state = VQState(start, start.new_zeros(codes), torch.zeros_like(start))
    for _ in range(iterations):
        indices = vq_lookup(x, state.codebook, mask=mask)
        problem = UpdateProblem(state, x, indices, 0.0, mask, None)
        counts, totals = _dispatch.choose(update.SUMS, problem, None).call(problem)
        state.count.copy_(counts)
        state.total.copy_(totals)
        used = (counts > 0)[:, None]
        state.codebook.copy_(torch.where(used, totals / counts[:, None], state.codebook))
    if group is not None:
        for tensor in (state.codebook, state.count, state.total):
            dist.broadcast(tensor, dist.get_global_rank(group, 0), group=group)
    return state


def _of_all(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Gather the rows (N, D) of all processes, in the order of their ranks."""
    rows = x.reshape(-1, x.shape[-1])
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(group.size())]
    dist.all_gather(counts, torch.full_like(counts[0], len(rows)), group=group)
    longest = max(int(count) for count in counts)
    parts = [rows.new_empty(longest, rows.shape[1]) for _ in counts]
    # all_gather needs the same number of rows from each process
    dist.all_gather(parts, F.pad(rows, (0, 0, 0, longest - len(rows))), group=group)
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)])


def vq_replace_dead_(
    state: VQState,
    x: Tensor,
    *,
    threshold: float,
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> None:
    """Replace rarely used codes by random rows, without a host sync.

    Each dead code becomes a different row of `x`, with `threshold` as its count. If there are fewer
    rows than dead codes, the last dead codes stay until the next call.

    Parameters
    ----------
    state : VQState
    x : Tensor, (..., D) float
    threshold : float
        Codes with a smaller moving count are dead; in [0, 1e9].
    generator : Generator, optional
        On the device of `x`.
    mask : Tensor, (...) bool, optional
        False leaves a row out.
    group : ProcessGroup, optional
        Processes that hold the same state. The first one draws among the rows of all, in the order
        of their ranks, and the states stay equal bit for bit. Default: this process alone.

    Raises
    ------
    InputError
    """
    function = "vq_replace_dead_"
    update.check_sums(function, x, mask)
    update.check_state(function, state, x)
    update.check_group(function, group)
    update.check_generator(function, generator)
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= _MOST_COUNT:
        raise InputError(f"{function}: threshold must be in [0, 1e9], got {threshold!r}.")
    with torch.no_grad():
        dead = state.count < threshold
        # the n-th dead code takes the n-th row
        turn = dead.cumsum(0) - 1
        if group is None:
            rows, drawn = _random_rows(x.detach(), len(dead), generator, mask)
        else:
            rows, drawn = _rows_of_all(x.detach(), len(dead), generator, mask, group)
        filled = torch.cat([drawn, drawn.new_zeros(1)])[turn.clamp(0, len(drawn))] & dead
        # append a row of zeros for dead codes without a row
        rows = torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).to(state.codebook.dtype)
        found = torch.where(filled[:, None], rows[turn.clamp(0, len(rows) - 1)], 0.0)
        filled, found = update.everywhere(filled, found, group)
        filled = filled > 0
        state.codebook.copy_(torch.where(filled[:, None], found, state.codebook))
        state.total.copy_(torch.where(filled[:, None], found * threshold, state.total))
        state.count.copy_(torch.where(filled, threshold, state.count))


def _random_rows(
    x: Tensor, most: int, generator: torch.Generator | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draw up to `most` distinct rows, (M, D), and flag which are unmasked, (M,) bool."""
    flat = x.reshape(-1, x.shape[-1])
    mask = None if mask is None else mask.reshape(-1)
    rows, unmasked = _random_places(flat, len(flat), most, generator, mask)
    return flat[rows], unmasked


def _random_places(
    x: Tensor, count: int, most: int, generator: torch.Generator | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Draw up to `most` distinct numbers below `count`, and flag which are unmasked."""
    keys = torch.rand(count, generator=generator, device=x.device, dtype=torch.float64)
    if mask is not None:
        keys = torch.where(mask, keys, -1.0)
    largest, places = keys.topk(min(most, count))
    return places, largest >= 0


def _rows_of_all(
    x: Tensor,
    most: int,
    generator: torch.Generator | None,
    mask: Tensor | None,
    group: dist.ProcessGroup,
) -> tuple[Tensor, Tensor]:
    """Draw up to `most` distinct rows of all processes, (M, D), and flag which are here."""
    flat = x.reshape(-1, x.shape[-1])
    used = flat.new_ones(len(flat), 1) if mask is None else mask.reshape(-1, 1).to(flat.dtype)
    counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(group.size())]
    dist.all_gather(counts, torch.full_like(counts[0], len(flat)), group=group)
    lengths = [int(n) for n in counts]
    unmasked = _of_all(used, group)[:, 0] > 0
    places, drawn = _random_places(x, sum(lengths), most, generator, unmasked)
    places = torch.where(drawn, places, -1)
    # the same for all, whatever the state of their generators
    dist.broadcast(places, dist.get_global_rank(group, 0), group=group)
    own = places - sum(lengths[: dist.get_rank(group)])
    here = (places >= 0) & (own >= 0) & (own < len(flat))
    padded = torch.cat([flat, flat.new_zeros(1, flat.shape[1])])
    return padded[torch.where(here, own, len(flat))], here
