"""LLM4Brain for several voxel grids: a model a grid, which share all weights but those per token.

=======================  =====================================================================
shared by all grids      tokenizer, subject table, encoder, adapters, channel map of the bridge,
                         Q-Former, projection, video branch, prototypes, language model
one a grid               map across tokens of the bridge, linear readout
computed for each grid   voxel statistics, position code
=======================  =====================================================================

Grids with equal tokens at equal positions are one grid here, with statistics of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError, InputError
from ..lm.lora import TunedLLM
from .config import LLM4BrainConfig
from .custom_encoder import refused_on_grids
from .grid_encoders import GridLayout, tie_parameters
from .model import LLM4Brain
from .parameter_groups import Groups

# parts with a weight for each token of a grid
PER_TOKEN = ("bridge.mix", "readout")


class GridModels(nn.Module):
    """Models of several voxel grids that are trained as one.

    Parameters
    ----------
    config : LLM4BrainConfig
        With ``positions="brain"``: a table has one row for each token of one grid.
    layouts : mapping of str to GridLayout
        By name of the grid, as ``Batch.grid`` of a loader of a
        :class:`fastbrain.data.StoreCollection`.
    llm, text_tokenizer, scale, video, tuned
        As in :class:`LLM4Brain`; shared by all grids.

    Raises
    ------
    ConfigError
        The configuration has a position table or a custom encoder.
    InputError
        There is no grid, or grids differ in patch size.

    Attributes
    ----------
    parts : ModuleDict of LLM4Brain
        Each is a complete model of its grid.
    """

    def __init__(
        self,
        config: LLM4BrainConfig,
        layouts: Mapping[str, GridLayout],
        *,
        llm: Any,
        text_tokenizer: Any = None,
        scale: float = 1.0,
        video: nn.Module | None = None,
        tuned: TunedLLM | None = None,
    ) -> None:
        super().__init__()
        if config.encoder.positions != "brain":
            raise ConfigError(
                "GridModels: positions must be 'brain' for several grids, got "
                f"{config.encoder.positions!r}: a table belongs to the tokens of one grid."
            )
        if config.custom_encoder is not None:
            raise refused_on_grids(config.custom_encoder, function="GridModels")
        models = {
            name: LLM4Brain(
                config,
                grid=layout.grid,
                centers_mm=layout.centers_mm,
                llm=llm,
                text_tokenizer=text_tokenizer,
                mean=layout.mean,
                inv_std=layout.inv_std,
                scale=scale,
                video=video,
                tuned=tuned,
            )
            for name, layout in layouts.items()
        }
        kinds = [layout.fingerprint() for layout in layouts.values()]
        self.parts = tie_parameters(models, own=PER_TOKEN, kinds=kinds)
        self._alike: dict[str, list[str]] = {}
        for name, kind in zip(layouts, kinds, strict=True):
            self._alike.setdefault(kind, []).append(name)

    def part(self, grid: str) -> LLM4Brain:
        """Return the model of a grid; raises :class:`InputError` if there is none."""
        if grid not in self.parts:
            raise InputError(
                f"GridModels: grid must be one of {', '.join(self.parts)}, got {grid!r}. A loader "
                "of the collection gives batches of one grid."
            )
        found = self.parts[grid]
        assert isinstance(found, LLM4Brain)
        return found

    @property
    def first(self) -> LLM4Brain:
        """Model of the first grid, which has all shared weights."""
        return self.part(next(iter(self.parts)))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the grids, in order."""
        return tuple(self.parts)

    def alike(self) -> Iterator[tuple[str, ...]]:
        """Yield the names of grids that share the weights per token; each grid once."""
        yield from map(tuple, self._alike.values())

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        return self.first.device

    def parameter_groups(self) -> Groups:
        """Return the parameters of all grids by training group, each parameter once."""
        seen: set[int] = set()
        groups: Groups = {}
        for grid, part in self.parts.items():
            assert isinstance(part, LLM4Brain)
            for group, parameters in part.parameter_groups().items():
                new = [(f"parts.{grid}.{n}", p) for n, p in parameters if id(p) not in seen]
                seen |= {id(p) for _, p in new}
                groups.setdefault(group, []).extend(new)
        return groups

    def set_trainable(self, groups: Sequence[str]) -> list[str]:
        """Train `groups` and freeze all others; see :meth:`LLM4Brain.set_trainable`."""
        for grid in self.parts:
            self.part(grid).set_trainable(groups)
        return [n for n, p in self.named_parameters() if p.requires_grad]


AnyModel = LLM4Brain | GridModels


def reader(model: AnyModel, batch: Any) -> LLM4Brain:
    """Return the model of the grid that the windows of a batch are on.

    Parameters
    ----------
    model : LLM4Brain or GridModels
    batch : Batch
        Its attribute `grid` counts for several grids only.
    """
    return model.part(getattr(batch, "grid", ""))
