"""Two-way and first-k-of-n scores of a similarity of written and true texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...stats.derangements import check_partners, derangements, distinct_rows
from ...stats.inference import Interval, block_flip_p, bootstrap_interval, permutation_p
from ..scores import Score, only_score
from .candidates import Candidates

SIZES = (50, 100)
KS = (1, 5)
_CURVE = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)
_CONTROL = "deranged brain"


@dataclass(frozen=True)
class CurvePoint:
    """Share of samples with the true text among the k most similar of n candidates.

    Parameters
    ----------
    k, n : int
        `n` is the largest number of candidates of a sample, the true text included.
    value : float
    chance : float
        The same under the control.
    uniform : float
        The same for random ranks: mean of k over each sample's number of candidates.
    low, high : float or None
        95 % interval of `value`; None for a single block.
    """

    k: int
    n: int
    value: float
    chance: float
    uniform: float
    low: float | None
    high: float | None


@dataclass(frozen=True, eq=False)
class Identification:
    """Result of :func:`identification_from_text`.

    Parameters
    ----------
    scores : tuple of Score
        ``BY_two_way``, ``BY_top1``, ``BY_top5`` of all candidates, and ``BY_top1_of_50``,
        ``BY_top5_of_50``, ... of random sets of candidates.
    per_sample : dict
        Score name to (N,) float64.
    curve : tuple of CurvePoint
        Among all candidates.
    ceiling : dict
        Score name to the value that texts chosen by an oracle reach; empty without a bank.
    signature : str
    """

    scores: tuple[Score, ...]
    per_sample: dict[str, npt.NDArray[np.float64]]
    curve: tuple[CurvePoint, ...]
    ceiling: dict[str, float]
    signature: str

    def score(self, metric: str) -> Score:
        """Return the score of that name.

        Raises
        ------
        InputError
            There is none.
        """
        return only_score(self.scores, metric, where="Identification")

    def to_json(self) -> dict[str, Any]:
        """Curve, ceiling and signature as JSON values; the scores are in ``metrics.json``."""
        return {
            "curve": [asdict(point) for point in self.curve],
            "ceiling": self.ceiling,
            "signature": self.signature,
        }


def identified(
    similarity: npt.NDArray[np.float64],
    blocks: Sequence[object],
    prefix: str,
    signature: str,
    *,
    exclude: Sequence[object] = (),
    groups: Sequence[object] = (),
    sizes: Sequence[int] | None = None,
    ks: Sequence[int] = KS,
    partners: npt.NDArray[np.int64] | None = None,
    other: npt.NDArray[np.float64] | None = None,
    oracle: npt.NDArray[np.float64] | None = None,
    count: int = 1000,
    seed: int = 0,
) -> Identification:
    """Identify true texts by a similarity (N, N) of written (rows) and true texts (columns).

    Parameters
    ----------
    similarity : ndarray, (N, N)
    blocks, exclude, groups, sizes, ks, partners, count, seed
        As in :func:`identification_from_text`.
    prefix : str
        Scores are named ``PREFIX_two_way``, ``PREFIX_top1``, ``PREFIX_top1_of_50``, ...
    signature : str
        How `similarity` was computed.
    other, oracle : ndarray, (N, N), optional
        Similarity of the texts of one derangement, and of the oracle's texts.
    """
    n = len(similarity)
    own = Candidates(similarity, exclude, groups)
    if sizes is None:
        sizes = [size for size in SIZES if size <= own.fewest]
    own.check(sizes, ks)
    if other is None and partners is None:
        partners = derangements(
            blocks, within=groups if len(groups) else None, count=count, seed=seed
        )
    if partners is not None:
        check_partners("identification_from_text", partners, n)
    beside = None if other is None else Candidates(other, exclude, groups)
    ceiling = None if oracle is None else Candidates(oracle, exclude, groups)
    reach = "1 other" if own.most == 2 else f"{own.most - 1} others"
    if own.fewest < own.most:
        reach = f"{own.fewest - 1} to {reach}"
    among = f"{signature}; each among {reach}"
    among += ", none of its own label" if len(exclude) else ""

    def measured(k: int | None, size: int | None) -> tuple[Any, ...]:
        """Value for each sample, chance, p and interval."""
        values = own.shares(k, size)
        mine = np.diag(values)
        interval = bootstrap_interval(mine, blocks=blocks, seed=seed)
        if beside is not None:
            theirs = np.diag(beside.shares(k, size))
            return (
                mine,
                float(theirs.mean()),
                block_flip_p(mine - theirs, blocks, seed=seed),
                interval,
            )
        assert partners is not None
        # text of the partner's brain, true text of the sample
        null = values[partners, np.arange(n)].mean(axis=1)
        p = permutation_p(float(mine.mean()), null[distinct_rows(partners)])
        return mine, float(null.mean()), p, interval

    wanted: dict[str, tuple[int | None, int | None]] = {"two_way": (None, None)}
    wanted |= {f"top{k}": (k, None) for k in ks if k < own.fewest}
    wanted |= {f"top{k}_of_{size}": (k, size) for size in sizes for k in ks if k < size}
    scores, per_sample, ceilings = [], {}, {}
    for name, (k, size) in wanted.items():
        mine, chance, p, interval = measured(k, size)
        metric = f"{prefix}_{name}"
        sets = "" if size is None else f"; expectation over sets of {size}"
        how = "" if beside is None else "; p: sign flips of blocks"
        scores.append(
            Score(
                metric,
                "retrieval",
                float(mine.mean()),
                n,
                chance,
                _CONTROL,
                p,
                interval,
                among + sets + how,
            )
        )
        per_sample[metric] = mine
        if ceiling is not None:
            ceilings[metric] = float(np.diag(ceiling.shares(k, size)).mean())
    curve = []
    for k in _CURVE:
        if k < own.most:
            mine, chance, _, interval = measured(k, None)
            curve.append(_point(k, own, mine, chance, interval))
    return Identification(tuple(scores), per_sample, tuple(curve), ceilings, among)


def _point(
    k: int,
    own: Candidates,
    mine: npt.NDArray[np.float64],
    chance: float,
    interval: Interval | None,
) -> CurvePoint:
    low, high = (None, None) if interval is None else interval.as_list()
    uniform = float(np.minimum(k / (own.others + 1), 1.0).mean())
    return CurvePoint(k, own.most, float(mine.mean()), chance, uniform, low, high)
