"""Noise ceilings of the windows of a store, shown beside the scores of a decoder.

Two questions, each for repeats within a person and for people who saw the same stimulus: how well
can the response of a voxel be predicted, and how often is a window more similar to the mean of
other recordings of its own stimulus than to those of other stimuli. The second one compares with
retrieval and pairwise accuracy. A decoder that learned from many samples can exceed it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import VoxelStore
from ...data.readers.events import Trial
from ...errors import InputError
from ...stats.correlations import correlations
from ...stats.inference import bootstrap_interval
from .noise_ceiling import inter_subject_ceiling, split_half_ceiling

Array = npt.NDArray[np.float64]
_VOXELS = 10_000
_STIMULI = 5  # fewer give no ceiling
_BEST = 0.95  # quantile over voxels
REPEATS, PEOPLE = "repeats of a person", "other people"


@checked
def store_ceiling(
    store: VoxelStore, trial_ids: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Estimate the noise ceilings of windows, where stimuli occur more than once among them.

    A window is the mean of its volumes in at most 10,000 voxels, in standard deviations of the
    training part. A stimulus is named by the events, or else by its text.

    Parameters
    ----------
    store : VoxelStore
    trial_ids : sequence of str
        Windows that are scored.
    seed : int

    Returns
    -------
    dict
        For ``"repeats of a person"`` and ``"other people"``: number of stimuli and windows, median
        and 95 % quantile over voxels of the ceiling of a correlation, and ``two_way`` and ``top1``
        with interval and chance level; or a ``reason`` why there is none.

    Raises
    ------
    InputError
        A trial is not in the store.
    """
    unknown = [t for t in trial_ids if t not in store.by_id]
    if unknown:
        raise InputError(f"store_ceiling: trial_ids must be in the store, got {unknown[:3]}.")
    groups: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for t in (store.by_id[i] for i in trial_ids):
        groups[t.subject, t.stimulus or t.text].append(t)
    repeated = {key: trials for key, trials in groups.items() if len(trials) > 1}
    seen: dict[str, set[str]] = defaultdict(set)
    for subject, stimulus in groups:
        seen[stimulus].add(subject)
    shared = {key: t for key, t in groups.items() if len(seen[key[1]]) > 1}
    return {
        REPEATS: _of_repeats(store, repeated, seed),
        PEOPLE: _of_people(store, shared, seen, seed),
    }


def _of_repeats(
    store: VoxelStore, repeated: Mapping[tuple[str, str], list[Trial]], seed: int
) -> dict[str, Any]:
    people: dict[str, dict[str, list[Trial]]] = defaultdict(dict)
    for (subject, stimulus), trials in repeated.items():
        people[subject][stimulus] = trials
    enough = {s: own for s, own in people.items() if len(own) >= _STIMULI}
    if not enough:
        most = max((len(own) for own in people.values()), default=0)
        return {
            "reason": f"needs {_STIMULI} stimuli of one person that occur twice among the scored "
            f"windows, found {most}"
        }
    ceilings, found = [], _Identified()
    for own in enough.values():
        depth = _depth([len(trials) for trials in own.values()])
        kept = {name: trials[:depth] for name, trials in own.items() if len(trials) >= depth}
        x = np.stack([_windows(store, trials) for trials in kept.values()], axis=1)  # (R, N, V)
        ceilings.append(split_half_ceiling(x, seed=seed))
        for r in range(depth):
            others = np.delete(x, r, axis=0).mean(axis=0)
            found.add(x[r], others, list(kept))
    return found.facts(np.mean(ceilings, axis=0), len(enough), seed)


def _of_people(
    store: VoxelStore,
    shared: Mapping[tuple[str, str], list[Trial]],
    seen: Mapping[str, set[str]],
    seed: int,
) -> dict[str, Any]:
    # the people who share most stimuli: those of the most frequent set of viewers
    sets: dict[frozenset[str], list[str]] = defaultdict(list)
    for stimulus, viewers in seen.items():
        if len(viewers) > 1:
            sets[frozenset(viewers)].append(stimulus)
    best = max(sets, key=lambda viewers: (len(sets[viewers]), len(viewers)), default=frozenset())
    stimuli = sorted(s for viewers, own in sets.items() if viewers >= best for s in own)
    if len(stimuli) < _STIMULI or not best:
        return {
            "reason": f"needs {_STIMULI} stimuli among the scored windows that two people share, "
            f"found {len(stimuli) if best else 0}"
        }
    x = np.stack(
        [
            np.stack([_windows(store, shared[person, s]).mean(axis=0) for s in stimuli])
            for person in sorted(best)
        ]
    )  # (S, N, V)
    lower, upper = inter_subject_ceiling(x)
    found = _Identified()
    for s in range(len(x)):
        found.add(x[s], np.delete(x, s, axis=0).mean(axis=0), stimuli)
    facts = found.facts(lower, len(x), seed)
    return facts | {"upper": round(float(np.median(upper)), 4)}


class _Identified:
    """Windows that are identified by the mean of other recordings, collected over people."""

    def __init__(self) -> None:
        self._two: list[Array] = []
        self._top: list[Array] = []
        self._blocks: list[str] = []
        self._chance: list[float] = []

    def add(self, windows: Array, others: Array, stimuli: Sequence[str]) -> None:
        """Identify windows (N, V) among the means (N, V) of their stimuli."""
        centred = [v - v.mean(axis=0) for v in (windows, others)]
        if not all((np.ptp(v, axis=1) > 0).all() for v in centred):
            return
        similarity = correlations(*centred)
        own = np.diag(similarity)[:, None]
        below, equal = (similarity < own).sum(axis=1), (similarity == own).sum(axis=1) - 1
        n = len(own)
        self._two.append((below + 0.5 * equal) / (n - 1))
        self._top.append((below + equal == n - 1) / (equal + 1))
        self._blocks += stimuli
        self._chance += [1 / n] * n

    def facts(self, ceiling: Array, people: int, seed: int) -> dict[str, Any]:
        """Summarise ceilings of voxels and shares of identified windows."""
        found: dict[str, Any] = {
            "people": people,
            "stimuli": len(set(self._blocks)),
            "windows": len(self._blocks),
            "voxels": len(ceiling),
            "median": round(float(np.median(ceiling)), 4),
            "best": round(float(np.quantile(ceiling, _BEST)), 4),
        }
        for name, parts, chance in (
            ("two_way", self._two, 0.5),
            ("top1", self._top, float(np.mean(self._chance)) if self._chance else 0.0),
        ):
            if not parts:
                continue
            values = np.concatenate(parts)
            # recordings of one stimulus are drawn together
            interval = bootstrap_interval(values, blocks=self._blocks, seed=seed)
            found[name] = {
                "value": round(float(values.mean()), 4),
                "interval": None if interval is None else [round(v, 4) for v in interval.as_list()],
                "chance": round(chance, 4),
            }
        return found


def _depth(counts: Sequence[int]) -> int:
    """Choose the number of repeats that at least half of the repeated stimuli have."""
    ranked = sorted(counts, reverse=True)
    return ranked[max(_STIMULI, -(-len(ranked) // 2)) - 1]


def _windows(store: VoxelStore, trials: Sequence[Trial]) -> Array:
    """Mean of the volumes of each window, (N, V), normalised with the training part."""
    places = np.argwhere(store.inv_std > 0)
    places = places[:: -(-len(places) // _VOXELS)]
    at = (places[:, 0], places[:, 1])
    rows = [store.window(t.trial_id)[:, at[0], at[1]].mean(axis=0) for t in trials]
    return np.asarray((store.scale * np.stack(rows) - store.mean[at]) * store.inv_std[at])


def ceiling_lines(facts: Mapping[str, Any]) -> list[str]:
    """Describe the noise ceilings of an evaluation in sentences; empty if none was estimated.

    Parameters
    ----------
    facts : mapping
        Of an evaluation, with the key ``noise_ceiling``.
    """
    lines = []
    for source, found in (facts.get("noise_ceiling") or {}).items():
        if "reason" in found:
            lines.append(f"Noise ceiling from {source}: not estimable, {found['reason']}.")
            continue
        text = (
            f"Noise ceiling from {source} ({found['stimuli']} stimuli, {found['windows']} "
            "windows): a voxel's response can be predicted with a correlation of "
            f"{found['median']:.3f} (median of {found['voxels']} voxels; best 5 %: "
            f"{found['best']:.3f})"
        )
        for name, what in (("two_way", "right of two"), ("top1", "top-1")):
            if name in found:
                score = found[name]
                low, high = score["interval"] or (None, None)
                shown = "" if low is None else f" [{low:.3f}, {high:.3f}]"
                text += f"; {what} {score['value']:.3f}{shown}, chance {score['chance']:.3f}"
        lines.append(f"{text}, by similarity to other recordings of the stimulus.")
    return lines
