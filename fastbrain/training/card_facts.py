"""What the card of a model states about the data and the language model of its training."""

from __future__ import annotations

from typing import Any, Literal

from ..data.store.members import AnyStore, members_of
from ..lm.kept_llm import LLMRecord
from ..lm.license import license_of

_PARTS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


def card_facts(store: AnyStore, language: LLMRecord) -> dict[str, Any]:
    """Return counts of a cohort and the license of a language model, as JSON values.

    ``cohort`` has the number of people of each part of the split, of runs and volumes, and of the
    runs on which voxel statistics were fitted.
    """
    members = members_of(store).values()
    people: dict[str, set[str]] = {part: set[str]() for part in _PARTS}
    for member in members:
        for part in _PARTS:
            people[part] |= {member.by_id[i].subject for i in member.split.part(part)}
    runs = [run for member in members for run in member.info.runs.values()]
    cohort = {
        "people": {part: len(names) for part, names in people.items()},
        "people_in_all": len(set().union(*people.values())),
        "runs": len(runs),
        "volumes": sum(int(run["n_volumes"]) for run in runs),
        "fit_runs": sum(len(member.fit_runs) for member in members),
    }
    return {"cohort": cohort, "llm_license": license_of(language)}
