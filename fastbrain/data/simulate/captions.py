"""Captions of the simulated cohort: actor, action, object and place.

Four slots of six values give 1,296 sentences, so chance levels are known: a random caption has the
correct value of a given slot with probability 1/6.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from ...errors import InputError

ACTORS = ("a man", "a woman", "a boy", "a girl", "a dog", "a robot")
ACTIONS = ("throws", "carries", "kicks", "paints", "washes", "hides")
OBJECTS = ("a ball", "a book", "a chair", "a guitar", "a cake", "a box")
PLACES = (
    "in a park",
    "on a beach",
    "in a kitchen",
    "on a street",
    "in a forest",
    "on a snowfield",
)
SLOTS: dict[str, tuple[str, ...]] = {
    "actor": ACTORS,
    "action": ACTIONS,
    "object": OBJECTS,
    "place": PLACES,
}
N_CAPTIONS = len(ACTORS) * len(ACTIONS) * len(OBJECTS) * len(PLACES)
QUESTION = "what does the person see ?"


@dataclass(frozen=True)
class Meaning:
    """One value per slot, as indices into `SLOTS`."""

    actor: int
    action: int
    object: int
    place: int

    @property
    def indices(self) -> tuple[int, int, int, int]:
        """Slot values in the order of `SLOTS`."""
        return (self.actor, self.action, self.object, self.place)

    @property
    def caption(self) -> str:
        """The caption, e.g. ``a woman throws a ball in a park``."""
        return " ".join(values[i] for values, i in zip(SLOTS.values(), self.indices, strict=True))

    @property
    def stimulus(self) -> str:
        """Identifier shared by all clips of this meaning."""
        return "clip-" + "".join(str(i) for i in self.indices)

    @property
    def category(self) -> str:
        """The action, used as the class of a prototype."""
        return ACTIONS[self.action]


def all_meanings() -> list[Meaning]:
    """List every caption of the grammar, in a fixed order."""
    return [
        Meaning(*indices) for indices in itertools.product(*(range(len(v)) for v in SLOTS.values()))
    ]


def draw_meanings(n: int, rng: np.random.Generator) -> list[Meaning]:
    """Draw `n` different captions.

    Raises
    ------
    InputError
        `n` is below 1 or above the number of captions of the grammar.
    """
    if not 0 < n <= N_CAPTIONS:
        raise InputError(
            f"draw_meanings: n must be 1..{N_CAPTIONS}, got {n}. Simulate fewer trials: no two "
            "subjects share a stimulus."
        )
    meanings = all_meanings()
    return [meanings[i] for i in rng.permutation(N_CAPTIONS)[:n]]
