"""Catalogue of the public data sets with built-in support."""

from __future__ import annotations

from ..._arguments import checked
from .algonauts import ALGONAUTS2025
from .bold5000 import BOLD5000
from .boldmoments import BOLDMOMENTS
from .had import HAD
from .known import KnownDataset, Label, PublicDataset, dataset_named
from .on_request import RequestedDataset
from .passages import PEREIRA
from .stories import STORY_DATASETS, StoryDataset, lebel, story_dataset, story_onsets
from .urgen import URGEN

DATASETS = {dataset.name: dataset for dataset in (HAD, BOLD5000, BOLDMOMENTS, URGEN)}

__all__ = [
    "ALGONAUTS2025",
    "BOLD5000",
    "BOLDMOMENTS",
    "DATASETS",
    "HAD",
    "PEREIRA",
    "STORY_DATASETS",
    "URGEN",
    "KnownDataset",
    "Label",
    "RequestedDataset",
    "StoryDataset",
    "known_dataset",
    "lebel",
    "public_dataset",
    "story_dataset",
    "story_onsets",
]


@checked
def known_dataset(name: str) -> KnownDataset:
    """Return a data set by name: "had", "bold5000", "boldmoments" or "urgen".

    Raises
    ------
    ConfigError
        There is no data set with that name.
    """
    otherwise = "Write a runs table for your own data."
    return dataset_named("known_dataset", name, DATASETS, otherwise)


def public_dataset(name: str) -> PublicDataset:
    """Return a data set of trials, stories, passages or movies by name.

    Raises
    ------
    ConfigError
        There is no data set with that name.
    """
    others = {dataset.name: dataset for dataset in (PEREIRA, ALGONAUTS2025)}
    known: dict[str, PublicDataset] = {**DATASETS, **STORY_DATASETS, **others}
    return dataset_named("public_dataset", name, known, "Plan the study again.")
