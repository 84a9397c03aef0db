"""Initialise the readout by ridge regression from brain tokens to target latents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..._arguments import checked
from ..._progress import say
from ...data import FitScope
from ...errors import ConfigError, InputError
from ...training.run import Loader
from ..grid_models import AnyModel
from ..model import LLM4Brain
from .latent_targets import VideoLatents
from .readout_plan import COLUMNS, MEMORY_GB, ReadoutPlan, plan_readout
from .readout_systems import ROWS, Dual, Primal

ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_ITERATIONS = 12  # of the subspace of predictions


@dataclass(frozen=True)
class ReadoutFit:
    """Result of the ridge fit; all numbers are from training windows.

    Parameters
    ----------
    alpha : float
        Penalty in units of the mean eigenvalue of the Gram matrix.
    r2 : float
        Cross-validated explained variance of the targets. If there are two or more runs, folds
        are whole runs.
    rank : int
    windows : int
    plan : ReadoutPlan
        Method, sizes and memory of the fit.
    trials : tuple of str
        Windows of the fit.
    latents : VideoLatents or None
        Out-of-fold predictions of the latents of each training window, to train stages that read
        the predictions. None if they were not asked for.
    """

    alpha: float
    r2: float
    rank: int
    windows: int
    plan: ReadoutPlan
    trials: tuple[str, ...] = field(repr=False)
    latents: VideoLatents | None = field(repr=False)

    @property
    def scope(self) -> FitScope:
        """Windows that the readout was fitted on, for the leak auditor."""
        return FitScope("readout", self.trials)


class TrialLoader(Loader, Protocol):
    """Loader that names its windows before it reads them."""

    trial_ids: tuple[str, ...]


@checked(least={"folds": 2})
@torch.no_grad()
def fit_readout(
    model: AnyModel,
    loader: TrialLoader,
    targets: VideoLatents,
    *,
    grid: str = "",
    alphas: Sequence[float] = ALPHAS,
    folds: int = 5,
    memory_gb: float = MEMORY_GB,
    predictions: bool = True,
) -> ReadoutFit:
    """Set the readout of a model to the ridge regression of X on the brain tokens.

    The penalty is chosen by cross-validation over folds of whole runs; with one run the folds are
    contiguous. The regression is exact where it fits into the memory: in the dual form, reading the
    windows several times if need be, or in the primal form if a window has fewer features than
    there are windows. Otherwise the features are first projected to as many random directions as
    fit (:func:`plan_readout`); the plan says so.

    Parameters
    ----------
    model : LLM4Brain or GridModels
        Must have a readout (``config.readout_rank > 0``).
    loader : Loader
        Loader of the training windows `trial_ids`; one epoch is read, or as many as the plan says,
        and then its order must not change between them.
    targets : VideoLatents
        Targets X by trial id.
    grid : str
        Of several grids, the one to fit; the windows are on it or on grids that
        share its readout.
    alphas : sequence of float
        Candidate penalties, positive.
    folds : int
    memory_gb : float
        Most memory of the fit, GB, beside the targets and the model.
    predictions : bool
        Whether to return out-of-fold predictions.

    Returns
    -------
    ReadoutFit

    Raises
    ------
    ConfigError
        The model has no readout, or not even a projection fits into the memory. No window has been
        read then.
    InputError
        There are fewer than two windows, a penalty is not positive, all targets are equal, or the
        loader changes its order.
    """
    own = model.part(grid)
    if own.readout is None:
        raise ConfigError("fit_readout: readout_rank must be > 0, got a model without readout.")
    if not alphas or not all(alpha > 0 for alpha in alphas):
        raise InputError(f"fit_readout: alphas must be positive, got {tuple(alphas)}.")
    windows = len(loader.trial_ids)
    if windows < 2:
        raise InputError(f"fit_readout: loader must give two windows or more, got {windows}.")
    wanted = _Targets(targets)
    plan = plan_readout(
        windows,
        own.readout.read.in_features,
        wanted.values.shape[1],
        largest_fold=max(map(len, folds_of(loader.trial_ids, folds))),
        memory_gb=memory_gb,
        predictions=predictions,
    )
    say(f"readout: {plan.describe()}")
    system = (Dual if plan.method == "dual" else Primal)(model, loader, plan)
    wanted.take(system.trials)
    scale = float(system.gram.diagonal().sum()) / len(system.trials)
    groups = folds_of(system.trials, folds)
    alpha, r2 = _choose(system, wanted, groups, scale, alphas)
    rank = _set_readout(own, system, wanted, alpha * scale)
    cross = _held_out(system, wanted, groups, alpha * scale) if predictions else None
    return ReadoutFit(alpha, r2, rank, len(system.trials), plan, tuple(system.trials), cross)


class _Targets:
    """Targets (N, D) in blocks of columns; latents that are equal by construction count once."""

    def __init__(self, targets: VideoLatents) -> None:
        self._of, self.queries = targets, targets.latents.shape[1]
        # text_targets expands one latent to all queries without copying it
        self.repeats = self.queries if targets.latents.stride(1) == 0 else 1
        self.values = targets.latents[:, : self.queries // self.repeats].flatten(1)

    def take(self, trials: Sequence[str]) -> None:
        """Choose the rows, in order."""
        missing = [t for t in trials if t not in self._of.rows]
        if missing:
            self._of.of(missing, torch.device("cpu"))  # raises
        self.trials = list(trials)
        self._rows = torch.tensor([self._of.rows[t] for t in trials])

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield columns and their values (N, c) float64."""
        for start in range(0, self.values.shape[1], COLUMNS):
            part = slice(start, start + COLUMNS)
            yield part, self.values[:, part][self._rows].double()


def _choose(
    system: Dual | Primal,
    wanted: _Targets,
    groups: list[list[int]],
    scale: float,
    alphas: Sequence[float],
) -> tuple[float, float]:
    """Return the penalty with the smallest error in left-out folds, and its R²."""
    total = sum(float((y - y.mean(0)).square().sum()) for _, y in wanted.blocks())
    if not total > 0:
        raise InputError("fit_readout: targets must differ, got equal ones. Set readout_rank=0.")
    errors = torch.zeros(len(alphas), dtype=torch.float64)
    for held in _masks(groups, len(wanted.trials)):
        inner, across = system.part(held)
        values, vectors = torch.linalg.eigh(inner)
        del inner
        across = _times(across, vectors).to(across.dtype)
        for _, y in wanted.blocks():
            mean = y[~held].mean(0)
            rotated = vectors.T @ system.right(y - mean, held)
            for i, alpha in enumerate(alphas):
                ridge = (values.clamp_min(0) + alpha * scale)[:, None]
                errors[i] += (_times(across, rotated / ridge) + mean - y[held]).square().sum()
    best = int(errors.argmin())
    return alphas[best], 1 - float(errors[best]) / total


def _held_out(
    system: Dual | Primal, wanted: _Targets, groups: list[list[int]], penalty: float
) -> VideoLatents:
    """Predict every window by the regression without its fold."""
    n, width = len(wanted.trials), wanted.values.shape[1]
    found = torch.empty(n, width)
    for held in _masks(groups, n):
        inner, across = system.part(held)
        factor = _factor(inner, penalty)
        for part, y in wanted.blocks():
            mean = y[~held].mean(0)
            solved = torch.cholesky_solve(system.right(y - mean, held), factor)
            found[held, part] = (_times(across, solved) + mean).float()
    latents = found.unflatten(1, (wanted.queries // wanted.repeats, -1))
    latents = latents.expand(-1, wanted.queries, -1)
    return VideoLatents({t: i for i, t in enumerate(wanted.trials)}, latents)


def _set_readout(model: LLM4Brain, system: Dual | Primal, wanted: _Targets, penalty: float) -> int:
    """Fit all windows, keep the directions with the most variance of the predictions."""
    assert model.readout is not None
    none_held = torch.zeros(len(wanted.trials), dtype=torch.bool)
    factor = _factor(system.gram.clone(), penalty)

    def solve(y: Tensor) -> Tensor:
        return torch.cholesky_solve(system.right(y, none_held), factor)

    def spread(basis: Tensor) -> Tensor:  # centred targets times columns: (D, s) to (N, s)
        total = basis.new_zeros(len(wanted.trials), basis.shape[1])
        for part, y in wanted.blocks():
            total.addmm_(y - y.mean(0), basis[part])
        return total

    width = wanted.values.shape[1]
    rank = min(model.readout.rank, len(wanted.trials))
    # predictions are H Y with a symmetric H; a random subspace, wider than needed, is iterated
    wide = min(width, len(wanted.trials), 2 * rank + 16)
    if wide == width:
        basis = torch.eye(width, dtype=torch.float64)
    else:
        generator = torch.Generator().manual_seed(0)
        basis = torch.randn(width, wide, generator=generator, dtype=torch.float64)
        for _ in range(_ITERATIONS):
            left = system.back(solve(spread(torch.linalg.qr(basis).Q)))
            smooth = system.back(solve(left - left.mean(0)))
            basis = torch.cat([(y - y.mean(0)).T @ smooth for _, y in wanted.blocks()])
        basis = torch.linalg.qr(basis).Q
    left = system.back(solve(spread(basis)))
    inside = torch.linalg.svd(left, full_matrices=False).Vh[:rank]
    basis = basis @ inside.T  # (D, r)
    read = system.weights(solve(spread(basis)))
    latent_mean = torch.cat([y.mean(0) for _, y in wanted.blocks()])
    bias = latent_mean.float() - basis.float() @ (read @ system.mean)
    repeats = wanted.repeats
    write = basis.float().repeat(repeats, 1)
    model.readout.set_weights(read, write, bias.repeat(repeats))
    return len(read)


def _factor(gram: Tensor, penalty: float) -> Tensor:
    """Cholesky factor of a Gram matrix with a penalty on its diagonal, which is overwritten."""
    gram.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        raise InputError("fit_readout: alphas must exceed rounding errors. Use larger penalties.")
    return factor


def _times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Product in the precision of `matrix`, converting few rows at once."""
    return torch.cat([part.to(matrix) @ matrix for part in rows.split(ROWS)])


def _masks(groups: list[list[int]], n: int) -> Iterator[Tensor]:
    for group in groups:
        held = torch.zeros(n, dtype=torch.bool)
        held[group] = True
        yield held


def folds_of(trials: Sequence[str], folds: int) -> list[list[int]]:
    """Indices of the windows of each fold: whole runs, or contiguous parts of one run."""
    return _folds([_run(trial) for trial in trials], folds)


def _run(trial_id: str) -> str:
    return trial_id.rsplit("_", 1)[0]


def _folds(runs: list[str], folds: int) -> list[list[int]]:
    names = sorted(set(runs))
    if len(names) < 2:  # with one run, folds are contiguous parts of it
        size = -(-len(runs) // min(folds, len(runs)))
        return [list(range(i, min(i + size, len(runs)))) for i in range(0, len(runs), size)]
    part = {name: i % min(folds, len(names)) for i, name in enumerate(names)}
    groups: dict[int, list[int]] = {}
    for i, run in enumerate(runs):
        groups.setdefault(part[run], []).append(i)
    return list(groups.values())
