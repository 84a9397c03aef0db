"""Initialise the readout by ridge regression from brain tokens to target latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..._arguments import checked
from ..._progress import track
from ...data import FitScope
from ...errors import ConfigError, InputError
from ...training.run import Loader
from ..model import LLM4Brain
from .latent_targets import VideoLatents

ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_MAX_WINDOWS = 8192  # the Gram matrix is windows × windows


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
    latents : VideoLatents
        Out-of-fold predictions of the latents of each training window, to train stages that read
        the predictions.
    """

    alpha: float
    r2: float
    rank: int
    windows: int
    latents: VideoLatents = field(repr=False)

    @property
    def scope(self) -> FitScope:
        """Windows that the readout was fitted on, for the leak auditor."""
        return FitScope("readout", tuple(self.latents.rows))


@checked
@torch.no_grad()
def fit_readout(
    model: LLM4Brain,
    loader: Loader,
    targets: VideoLatents,
    *,
    alphas: Sequence[float] = ALPHAS,
    folds: int = 5,
) -> ReadoutFit:
    """Set the readout of a model to the ridge regression of X on the brain tokens.

    The penalty is chosen by cross-validation over folds of whole runs; with one run the folds are
    contiguous. The dual form is solved, so the size of the problem is the number of windows.

    Parameters
    ----------
    model : LLM4Brain
        Must have a readout (``config.readout_rank > 0``).
    loader : Loader
        Loader of training windows; one epoch is read.
    targets : VideoLatents
        Targets X by trial id.
    alphas : sequence of float
        Candidate penalties.
    folds : int

    Returns
    -------
    ReadoutFit

    Raises
    ------
    ConfigError
        The model has no readout.
    InputError
        There are fewer than two or more than 8,192 windows.
    """
    if model.readout is None:
        raise ConfigError("fit_readout: readout_rank must be > 0, got a model without readout.")
    features, latents, trials = _gather(model, loader, targets)
    runs = [_run(trial) for trial in trials]
    n = len(features)
    feature_mean, latent_mean = features.mean(0), latents.mean(0)
    features -= feature_mean
    latents = (latents - latent_mean).double()
    gram = (features @ features.T).double()  # (N, N)
    scale = gram.diagonal().mean()
    groups = _folds(runs, folds)
    held_out = torch.zeros(len(alphas), *latents.shape)  # (A, N, L·d)
    for group in groups:
        held = torch.zeros(n, dtype=torch.bool)
        held[group] = True
        mean = latents[~held].mean(0)
        inner, outer = _centred(gram, held)
        for i, dual in enumerate(_dual(inner, latents[~held] - mean, scale, alphas)):
            held_out[i, held] = (outer @ dual + mean).float()
    errors = (held_out - latents).square().sum(dim=(1, 2))
    best = int(errors.argmin())
    dual = _dual(gram, latents, scale, [alphas[best]])[0]  # (N, L·d)
    # directions in latent space with the most variance of the predictions
    rank = min(model.readout.rank, n)
    basis = torch.linalg.svd(gram @ dual, full_matrices=False).Vh[:rank]  # (r, L·d)
    read = (dual @ basis.T).float().T @ features  # (r, n_tokens·dim)
    bias = latent_mean - (read @ feature_mean) @ basis.float()
    model.readout.set_weights(read, basis.float().T, bias)
    r2 = 1 - float(errors[best] / latents.square().sum())
    honest = (held_out[best] + latent_mean).unflatten(1, (model.readout.n_queries, -1))
    cross = VideoLatents({t: i for i, t in enumerate(trials)}, honest)
    return ReadoutFit(alphas[best], r2, rank, n, cross)


def _gather(
    model: LLM4Brain, loader: Loader, targets: VideoLatents
) -> tuple[Tensor, Tensor, list[str]]:
    features, latents, trials = [], [], []
    was_training = model.training
    model.eval()
    for batch in track(loader, "reading windows"):
        tokens = model.tokens(batch.voxels.to(model.device), batch.subjects)
        features.append(tokens.flatten(1).float().cpu())
        latents.append(targets.of(batch.trial_ids, torch.device("cpu")).flatten(1))
        trials += batch.trial_ids
    model.train(was_training)
    if not 2 <= len(trials) <= _MAX_WINDOWS:
        raise InputError(
            f"fit_readout: loader must give 2..{_MAX_WINDOWS} windows, got {len(trials)}. "
            "Pass a loader over a subset."
        )
    return torch.cat(features), torch.cat(latents), trials


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


def _centred(gram: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Centre Gram matrices (train, train) and (held, train) by the mean of the training part."""
    inner, outer = gram[~held][:, ~held], gram[held][:, ~held]
    mean = inner.mean(0)
    inner = inner - mean - mean[:, None] + mean.mean()
    return inner, outer - outer.mean(1, keepdim=True) - mean + mean.mean()


def _dual(gram: Tensor, latents: Tensor, scale: Any, alphas: Sequence[float]) -> list[Tensor]:
    values, vectors = torch.linalg.eigh(gram)
    rotated = vectors.T @ latents
    return [vectors @ (rotated / (values.clamp_min(0) + a * scale)[:, None]) for a in alphas]
