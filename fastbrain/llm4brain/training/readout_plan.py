"""Method and memory of the readout's ridge regression, decided before a window is read."""

from __future__ import annotations

from dataclasses import dataclass

from ..._arguments import checked
from ...errors import ConfigError

MEMORY_GB = 1.0
# columns of the targets that are solved for at once
COLUMNS = 256
# rows of a random projection: more cost time, fewer than the least lose too much
_MOST, _LEAST, _STEP = 4096, 256, 256
# square float64 matrices that are alive at once while one is factorised
_SQUARES = 5
_MOST_READINGS = 12  # of all windows, for the exact fit
# growth of the process over the sum of the arrays: 1.20 and 1.19 (two runs) at 20,000 windows of 1,000 tokens
_OVERHEAD = 1.2
_BATCH = 32  # windows of one batch, with their copies during the transform


@dataclass(frozen=True)
class ReadoutPlan:
    """How the readout is fitted, returned by :func:`plan_readout`.

    Parameters
    ----------
    method : {"dual", "primal", "projected"}
        "dual": exact, by the products of all windows. "primal": exact, by the products of all
        features. "projected": primal on a random projection of the features.
    windows, features, outputs : int
        Number of windows, features of a window (tokens · width), and different target values.
    size : int
        Rows of the matrix that is factorised: windows, features, or projected features.
    held : int
        Windows that have their features in memory at once.
    bytes : int
        Memory of the arrays of the fit; the process may grow by a fifth more.
    exact_bytes : int
        Memory of the exact fit.
    """

    method: str
    windows: int
    features: int
    outputs: int
    size: int
    held: int
    bytes: int
    exact_bytes: int

    @property
    def passes(self) -> int:
        """How often the windows are read."""
        if self.method != "dual" or self.held >= self.windows:
            return 1
        return -(-self.windows // self.held) + 1

    def describe(self) -> str:
        """Say what is solved, in one line."""
        sizes = f"{self.windows} windows of {self.features} features"
        use = f"{self.bytes / 1e9:.2f} GB"
        if self.method == "projected":
            return (
                f"ridge on a random projection of {sizes} to {self.size} dimensions, {use} "
                f"(exact: {self.exact_bytes / 1e9:.1f} GB, readout_memory_gb)"
            )
        reads = "" if self.passes == 1 else f", reading the windows {self.passes} times"
        return f"exact ridge ({self.method}) on {sizes}, {use}{reads}"


@checked(least={"windows": 1, "features": 1, "outputs": 1})
def plan_readout(
    windows: int,
    features: int,
    outputs: int,
    *,
    largest_fold: int | None = None,
    memory_gb: float = MEMORY_GB,
    predictions: bool = True,
) -> ReadoutPlan:
    """Choose the exact fit if it fits into the memory, otherwise a random projection.

    Parameters
    ----------
    windows, features, outputs : int
        Number of windows, of features of a window, and of target values of a window.
    largest_fold : int, optional
        Most windows that are left out at once; default: a fifth.
    memory_gb : float
        Most memory of the fit, GB, beside the targets and the model. A sixth is left for what the
        arrays do not count.
    predictions : bool
        Whether out-of-fold predictions of all targets are kept.

    Returns
    -------
    ReadoutPlan

    Raises
    ------
    ConfigError
        Not even the smallest projection fits into the memory.
    """
    budget = int(memory_gb * 1e9 / _OVERHEAD)
    columns = min(outputs, COLUMNS)
    fold = largest_fold or -(-windows // 5)
    # predictions; a block of targets and its copies; a batch of windows and its transform
    kept = 4 * windows * outputs * predictions
    kept += 8 * columns * 3 * windows + 4 * features * _BATCH * 4

    def rows(size: int) -> int:  # of all windows, of one fold twice, and their matrices
        own = 4 * (windows + 2 * fold) * size
        return kept + own + 8 * _SQUARES * size**2 + 8 * columns * 2 * size

    dual = kept + 8 * _SQUARES * windows**2 + 8 * columns * windows
    primal = rows(features)
    exact = min(dual, primal)

    def plan(method: str, size: int, used: int, held: int = 0) -> ReadoutPlan:
        return ReadoutPlan(method, windows, features, outputs, size, held, used, exact)

    if features < windows and primal <= budget:
        return plan("primal", features, primal)
    held = min(windows, (budget - dual) // (4 * features))
    if held * _MOST_READINGS >= windows:
        return plan("dual", windows, dual + 4 * features * held, held)
    size = min(_MOST, features // _STEP * _STEP)
    while size >= _LEAST and rows(size) > budget:
        size -= _STEP
    if size < _LEAST:
        need = _OVERHEAD * min(exact, rows(_LEAST)) / 1e9
        raise ConfigError(
            f"fit_readout: readout_memory_gb must be {need:.2f} or more for {windows} windows of "
            f"{features} features and {outputs} target values, got {memory_gb:g}. Set it with "
            "train --config, or readout_rank=0 in its model for no readout."
        )
    return plan("projected", size, rows(size))
