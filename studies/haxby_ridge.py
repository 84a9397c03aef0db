"""Ridge regression on the volumes of the Haxby recordings, what haxby.py is compared with.

The regression goes from every volume of the training runs, rest included, to the predicted response
of each category. A test block gets the mean of what is predicted for its volumes, weighted by the
response that the block itself should evoke. Shift of the responses and penalty are chosen by the
blocks of training runs, each left out once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from haxby_data import block_of, block_truth, categories, parts
from sklearn.linear_model import Ridge

from fastbrain.data import RunDesign, VoxelStore, run_design

ALPHAS = np.logspace(0, 5, 11)
# volumes by which the predicted responses are moved: the onsets of this release begin some seconds
# into the block, and the canonical response is not everybody's
SHIFTS = (-3, -2, -1, 0)


@dataclass(frozen=True)
class Fit:
    """Ridge, as chosen inside the training runs.

    Parameters
    ----------
    shift : int
        Volumes by which predicted responses are moved.
    alpha : float
    accuracy : float
        Of blocks of left-out training runs.
    """

    shift: int
    alpha: float
    accuracy: float


def volumes(store: VoxelStore, run: str) -> np.ndarray:
    """Normalised brain voxels of a whole run, (T, voxels)."""
    values = (store.run(run).astype(np.float32) * store.scale - store.mean) * store.inv_std
    return values[:, store.inv_std > 0]


def responses(store: VoxelStore, run: str, shift: int) -> np.ndarray:
    """Predicted response to each category around its mean, (T, categories)."""
    design, names = _design(store, run, shift, by_block=False), categories(store)
    order = [design.names.index(name) for name in names]
    return design.responses[:, order] - design.responses[:, order].mean(axis=0)


def block_weights(store: VoxelStore, run: str, shift: int) -> dict[str, np.ndarray]:
    """By block, the weight of each volume: its predicted response, (T,), sum one."""
    design = _design(store, run, shift, by_block=True)
    columns = design.responses / design.responses.sum(axis=0)
    return dict(zip(design.names, columns.T, strict=True))


def _design(store: VoxelStore, run: str, shift: int, *, by_block: bool) -> RunDesign:
    own = [t for t in store.trials if t.run_id == run]
    return run_design(
        own,
        n_volumes=len(store.run(run)),
        tr=store.tr,
        key=block_of if by_block else lambda t: t.category,
        onset_offset_s=shift * store.tr,
    )


def block_scores(
    store: VoxelStore, runs: list[str], x: dict[str, np.ndarray], shift: int, model: Ridge
) -> np.ndarray:
    """Mean prediction over the volumes of each block, weighted, (blocks, categories)."""
    found = {}
    for run in runs:
        predicted = model.predict(x[run])
        found |= {b: w @ predicted for b, w in block_weights(store, run, shift).items()}
    return np.stack([found[block] for block in block_truth(store, runs)])


def fit_ridge(store: VoxelStore) -> Fit:
    """Choose shift and penalty by the blocks of training runs that are left out in turn."""
    train, _ = parts(store)
    x = {run: volumes(store, run) for run in train}
    hits: dict[tuple[int, float], int] = {}
    for shift in SHIFTS:
        y = {run: responses(store, run, shift) for run in train}
        for left in train:
            rest = [run for run in train if run != left]
            truth = list(block_truth(store, [left]).values())
            inputs, targets = (np.concatenate([v[run] for run in rest]) for v in (x, y))
            for alpha in ALPHAS:
                model = Ridge(alpha).fit(inputs, targets)
                scores = block_scores(store, [left], x, shift, model)
                right = int((scores.argmax(axis=1) == truth).sum())
                hits[shift, alpha] = hits.get((shift, alpha), 0) + right
    best = max(hits, key=lambda key: hits[key])
    return Fit(best[0], float(best[1]), hits[best] / len(block_truth(store, train)))


def ridge_scores(store: VoxelStore, fit: Fit) -> np.ndarray:
    """Scores of the test blocks by ridge on all training runs, (blocks, categories)."""
    train, test = parts(store)
    x = {run: volumes(store, run) for run in (*train, *test)}
    inputs = np.concatenate([x[run] for run in train])
    targets = np.concatenate([responses(store, run, fit.shift) for run in train])
    return block_scores(store, test, x, fit.shift, Ridge(fit.alpha).fit(inputs, targets))


def left_out_scores(store: VoxelStore, fit: Fit) -> dict[str, np.ndarray]:
    """Scores (categories,) of each training block, by ridge on the other training runs."""
    train, _ = parts(store)
    x = {run: volumes(store, run) for run in train}
    y = {run: responses(store, run, fit.shift) for run in train}
    found: dict[str, np.ndarray] = {}
    for left in train:
        inputs, targets = (np.concatenate([v[r] for r in train if r != left]) for v in (x, y))
        model = Ridge(fit.alpha).fit(inputs, targets)
        scores = block_scores(store, [left], x, fit.shift, model)
        found |= zip(block_truth(store, [left]), scores, strict=True)
    return found


def choose_delay(store: VoxelStore, delays: tuple[int, ...]) -> int:
    """Delay of single windows, in volumes, by ridge from a volume to its category.

    Parameters
    ----------
    store : VoxelStore
        With windows of one volume and no delay.
    delays : tuple of int

    Returns
    -------
    int
        That with the most volumes right in left-out training runs.
    """
    train, _ = parts(store)
    names, right = categories(store), {}
    x = {run: volumes(store, run) for run in train}
    own = [t for t in store.trials if t.run_id in train]
    labels = np.array([names.index(t.category) for t in own])
    runs = np.array([t.run_id for t in own])
    for delay in delays:
        rows = np.stack([x[t.run_id][min(t.start + delay, len(x[t.run_id]) - 1)] for t in own])
        found = np.zeros((len(ALPHAS), len(own)), dtype=bool)
        for left in train:
            held = runs == left
            for i, alpha in enumerate(ALPHAS):
                model = Ridge(alpha).fit(rows[~held], np.eye(len(names))[labels[~held]])
                found[i, held] = model.predict(rows[held]).argmax(axis=1) == labels[held]
        right[delay] = found.sum(axis=1).max()
    return max(right, key=lambda delay: right[delay])
