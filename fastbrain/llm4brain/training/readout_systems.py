"""Normal equations of the readout, of windows (dual) or of features (primal), read in parts.

Both have the same interface: ``gram`` and :meth:`part` for the equations, :meth:`right` and
:meth:`back` between the rows of the targets and those of the equations, and :meth:`weights` for the
weights on the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..._progress import track
from ...errors import InputError
from ...nn.modes import evaluating
from ...training.run import Loader
from ..grid_models import AnyModel, reader
from .random_projection import RandomProjection
from .readout_plan import ReadoutPlan

ROWS = 1024  # converted to float64 at once


class Dual:
    """Equations of the windows: exact, ``windows × windows``.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    loader : Loader
        If the plan reads the windows several times, its order must not change.
    plan : ReadoutPlan

    Attributes
    ----------
    trials : list of str
        Ids in the order of reading.
    mean : Tensor, (features,)
        Mean of the features.
    gram : Tensor, (N, N) float64
        Products of centred windows.
    """

    def __init__(self, model: AnyModel, loader: Loader, plan: ReadoutPlan) -> None:
        self._model, self._loader, self._held = model, loader, plan.held
        self.trials: list[str] = []
        if plan.passes == 1:
            features = torch.empty(plan.windows, plan.features)
            for ids, tokens in _windows(model, loader):
                features[len(self.trials) : len(self.trials) + len(ids)] = tokens
                self.trials += ids
            self._features = features[: len(self.trials)]
            self.mean = self._features.mean(0)
            self._features -= self.mean
            self.gram = (self._features @ self._features.T).double()
            return
        self._read_in_blocks(plan.windows, plan.features)

    def _read_in_blocks(self, windows: int, features: int) -> None:
        gram = torch.zeros(windows, windows, dtype=torch.float64)
        total = torch.zeros(features, dtype=torch.float64)
        shift = torch.zeros(features)
        seen: list[str] = []
        for start in range(0, windows, self._held):
            block = torch.zeros(min(self._held, windows - start), features)
            trials: list[str] = []
            for ids, tokens in _windows(self._model, self._loader, behind=start):
                first, last = len(trials), len(trials) + len(ids)
                trials += ids
                if last <= start:
                    continue
                if start == 0:
                    # removed here so that products of large means are not rounded in float32
                    shift = tokens.mean(0) if first == 0 else shift
                    total += tokens.double().sum(0)
                a, b = max(first, start), min(last, start + len(block))
                tokens = tokens[a - first :] - shift
                block[a - start : max(a, b) - start] = tokens[: max(0, b - a)]
                known = block[: b - start]
                products = (tokens @ known.T).double()
                gram[a:last, start : start + len(known)] = products
                gram[start : start + len(known), a:last] = products.T
            if seen and trials != seen:
                raise InputError(
                    "fit_readout: loader must keep its order, got another one on the next reading. "
                    "Use shuffle=False."
                )
            seen = trials
        n = len(seen)
        self.trials, self.mean = seen, (total / n).float()
        gram = gram[:n, :n]
        mean = gram.mean(0)
        self.gram = gram.sub_(mean).sub_(mean[:, None]).add_(mean.mean())

    def part(self, held: Tensor) -> tuple[Tensor, Tensor]:
        """Centred equations without the `held` windows, and (held, m) to predict these."""
        return centred(self.gram, held)

    def right(self, targets: Tensor, held: Tensor) -> Tensor:
        """Right-hand side (m, D) of centred targets (N, D), of which the `held` rows are unread."""
        return targets[~held]

    def back(self, solved: Tensor) -> Tensor:
        """Predictions (N, D) of all windows from a solution (m, D)."""
        return self.gram @ solved

    def weights(self, solved: Tensor) -> Tensor:
        """Weights (D, features) of a solution (m, D)."""
        solved = solved.float()
        if self._held >= len(self.gram):
            return solved.T @ self._features
        total = torch.zeros(solved.shape[1], len(self.mean))
        start = 0
        for ids, tokens in _windows(self._model, self._loader):
            total += solved[start : start + len(ids)].T @ (tokens - self.mean)
            start += len(ids)
        return total


class Primal:
    """Equations of the features, or of their random projection: ``size × size``.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    loader : Loader
    plan : ReadoutPlan

    Attributes
    ----------
    trials, mean, gram : see :class:`Dual`
    """

    def __init__(self, model: AnyModel, loader: Loader, plan: ReadoutPlan) -> None:
        self.trials: list[str] = []
        total = torch.zeros(plan.features, dtype=torch.float64)
        rows = torch.empty(plan.windows, plan.size)
        projected = plan.method == "projected"
        self._projection = RandomProjection(plan.features, plan.size) if projected else None
        for ids, tokens in _windows(model, loader):
            at = len(self.trials)
            self.trials += ids
            total += tokens.double().sum(0)
            values = tokens if self._projection is None else self._projection(tokens)
            rows[at : at + len(ids)] = values
        n = len(self.trials)
        self.mean = (total / n).float()
        self._rows = rows[:n]
        self._rows -= self._rows.mean(0)
        self.gram = _products(self._rows)

    def part(self, held: Tensor) -> tuple[Tensor, Tensor]:
        """Centred equations without the `held` windows, and (held, m) to predict these."""
        outside = self._rows[held]
        left = len(self._rows) - len(outside)
        # the rows of all windows sum to zero
        mean = -outside.double().sum(0) / left
        inner = self.gram - _products(outside)
        inner.addr_(mean, mean, alpha=-left)
        return inner, outside.sub_(mean.float())

    def right(self, targets: Tensor, held: Tensor) -> Tensor:
        """Right-hand side (m, D) of centred targets (N, D), of which the `held` rows are unread."""
        total = targets.new_zeros(self._rows.shape[1], targets.shape[1])
        for a in range(0, len(targets), ROWS):
            b = a + ROWS
            kept = targets[a:b] * ~held[a:b, None]
            total += self._rows[a:b].to(targets).T @ kept
        return total

    def back(self, solved: Tensor) -> Tensor:
        """Predictions (N, D) of all windows from a solution (m, D)."""
        return torch.cat([rows.to(solved) @ solved for rows in self._rows.split(ROWS)])

    def weights(self, solved: Tensor) -> Tensor:
        """Weights (D, features) of a solution (m, D)."""
        weights = solved.float().T
        return weights if self._projection is None else self._projection.back(weights)


def centred(gram: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Centre Gram matrices (train, train) and (held, train) by the mean of the training part."""
    inner, outer = gram[~held][:, ~held], gram[held][:, ~held]
    mean = inner.mean(0)
    inner = inner - mean - mean[:, None] + mean.mean()
    return inner, outer - outer.mean(1, keepdim=True) - mean + mean.mean()


def _products(rows: Tensor) -> Tensor:
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part in rows.split(ROWS):
        double = part.double()
        total.addmm_(double.T, double)
    return total


def _windows(
    model: AnyModel, loader: Loader, *, behind: int = 0
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield ids and tokens (B, features) of each batch; windows before `behind` have no tokens."""
    at = 0
    with evaluating(model):
        for batch in track(loader, "reading windows"):
            ids = list(batch.trial_ids)
            at += len(ids)
            if at <= behind:
                yield ids, torch.zeros(len(ids), 0)
                continue
            tokens = reader(model, batch).tokens(batch.voxels.to(model.device), batch.subjects)
            yield ids, tokens.flatten(1).float().cpu()
