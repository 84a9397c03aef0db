"""Options of public data sets, taken as the defaults of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from ..data import Preset, dataset_preset
from ..errors import ConfigError

_OPTION = "--dataset"


@dataclass(frozen=True, kw_only=True)
class PresetOptions:
    """A public data set, with the options that suit it."""

    dataset: (
        Literal[
            "had", "bold5000", "boldmoments", "narratives", "lebel",
            "algonauts2025", "hcp-rest", "ukb-rest", "nsd-betas",
        ]
        | None
    ) = None  # fmt: skip
    """Public data set that SOURCE is: its layout, task, windows and texts; every option that is
    given has precedence."""
    explained_by: tuple[Path, ...] = ()
    """With --dataset: folders with captions and class names that are not in SOURCE."""

    @property
    def data_preset(self) -> Preset | None:
        """Options of the data set."""
        return None if self.dataset is None else dataset_preset(self.dataset)

    @property
    def own_layout(self) -> bool:
        """Whether the data set has a layout of its own in place of BIDS."""
        preset = self.data_preset
        return preset is not None and (bool(preset.bold) or preset.movies is not None)

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> Any:
        """Return the options with those of ``--dataset`` as defaults; None without a data set.

        Raises
        ------
        ConfigError
            There is no data set with that name.
        """
        name = None
        for before, argument in zip(["", *arguments], arguments, strict=False):
            if before == _OPTION:
                name = argument
            elif argument.startswith(f"{_OPTION}="):
                name = argument.partition("=")[2]
        if name is None or name.startswith("-"):
            return None
        options = dataset_preset(name).options
        return cls(source=tyro.MISSING, out=tyro.MISSING, **options)  # type: ignore[call-arg]

    def refuse_events(self) -> None:
        """Raise for a data set of which the texts are not read from events.

        Raises
        ------
        ConfigError
        """
        preset = self.data_preset
        if preset is None or preset.trials is not None or preset.movies is not None:
            return
        if preset.dataset is not None:
            raise ConfigError(
                f"prepare: --dataset {self.dataset} must have the windows of a study, as words are "
                f"assigned to volumes: fastbrain study {self.dataset} SOURCE STUDY, then fastbrain "
                "prepare STUDY STORE. Or add --no-events."
            )
        raise ConfigError(
            f"prepare: --dataset {self.dataset} must come with --no-events, as {preset.title} has "
            "no texts. For texts of your own write a runs table that names images and events."
        )
