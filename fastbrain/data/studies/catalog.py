"""Catalogue of the public data sets with built-in support."""

from __future__ import annotations

from ..._arguments import checked
from .bold5000 import BOLD5000
from .had import HAD
from .known import KnownDataset, Label, dataset_named
from .stories import STORY_DATASETS, StoryDataset, lebel, story_dataset, story_onsets

DATASETS = {dataset.name: dataset for dataset in (HAD, BOLD5000)}

__all__ = [
    "BOLD5000",
    "DATASETS",
    "HAD",
    "STORY_DATASETS",
    "KnownDataset",
    "Label",
    "StoryDataset",
    "known_dataset",
    "lebel",
    "story_dataset",
    "story_onsets",
]


@checked
def known_dataset(name: str) -> KnownDataset:
    """Return a data set by name, "had" or "bold5000".

    Raises
    ------
    ConfigError
        There is no data set with that name.
    """
    otherwise = "Write a runs table for your own data."
    return dataset_named("known_dataset", name, DATASETS, otherwise)
