"""Groups to leave out in turn, of which no two share a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import some

_STRETCHES = 5  # as many as the folds of fit_ridge, so that each is left out alone


def text_groups(texts: Sequence[str], groups: Sequence[object]) -> tuple[str, ...]:
    """Join groups that share a text, so that a text is never in a left-out group and in another.

    Texts are compared without case and with single spaces. If all groups become one, for instance
    because the same texts were read in every run, the different texts, in order of first
    appearance, are divided into up to five stretches: neighbours of a story share more than words,
    so each is left out among its neighbours, with its repeats.

    Parameters
    ----------
    texts : sequence of str, (N,)
    groups : sequence, (N,)
        Passage, story or run of each text.

    Returns
    -------
    tuple of str, (N,)
        Names of the joined groups, or of the stretches. A group that shares no text keeps its name.
    """
    plain = [" ".join(text.split()).casefold() for text in texts]
    members: dict[int, dict[object, None]] = {}
    joined = _joined(plain, groups)
    for number, group in zip(joined, groups, strict=True):
        members.setdefault(number, {})[group] = None
    if len(members) == 1 < len(set(groups)):
        place = {text: i for i, text in enumerate(dict.fromkeys(plain))}
        count = min(_STRETCHES, len(place))
        return tuple(f"texts {place[text] * count // len(place) + 1}/{count}" for text in plain)
    names = {number: some([*own]) for number, own in members.items()}
    return tuple(names[number] for number in joined)


def _joined(texts: Sequence[str], groups: Sequence[object]) -> list[int]:
    """Number of the connected component of each sample, by its group and its text."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    group_of = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    text_of = {name: i for i, name in enumerate(dict.fromkeys(texts), start=len(group_of))}
    rows = [group_of[group] for group in groups]
    size = len(group_of) + len(text_of)
    edges = np.ones(len(rows)), (rows, [text_of[text] for text in texts])
    number = connected_components(coo_array(edges, shape=(size, size)), directed=False)[1]
    found: list[int] = number[rows].tolist()
    return found
