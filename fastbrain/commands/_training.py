"""Options and steps that the ``train`` commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import tyro

from .._io import read_json
from .._progress import say
from ..data import Audit, StoreCollection, VoxelStore
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..llm4brain.training import RunConfig

Recipe = TypeVar("Recipe")
_EXAMPLE = "meta-llama/Llama-2-7b-chat-hf"  # the family of Video-LLaMA's language model


@dataclass(frozen=True)
class StoreOptions:
    """Options of the commands that train on a store."""

    store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
    """Voxel store from `fastbrain prepare`, or a collection of stores."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """New run folder."""
    config: Path | None = None
    """JSON file with any part of the run configuration; see --print-config."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    verify: bool = False
    """Compare every byte of the store with its digests first."""
    resume: bool = False
    """Resume an interrupted run."""
    log: tuple[str, ...] = ()
    """Trackers that get the numbers of every epoch: tensorboard, wandb, trackio."""
    print_config: bool = False
    """Print the whole configuration as JSON and stop; STORE and RUN may be left out."""


@dataclass(frozen=True)
class TrainOptions(StoreOptions):
    """Options of the commands that train a whole system on a store."""

    llm: str | None = None
    """Hub name or folder of a causal language model; default: a small one, trained on the texts."""
    llm_rank: int | None = None
    """Rank of LoRA on the language model, saved as a PEFT adapter; default: as configured (0: the
    language model stays frozen)."""
    llm_bits: Literal[8, 4] | None = None
    """Bits of the weights of the language model, by bitsandbytes or torchao; default: as
    configured (not quantised)."""
    llm_device_map: str | None = None
    """Spread the frozen language model over devices, memory and disk: auto, balanced,
    balanced_low_0, sequential, or JSON of module names and devices; default: as configured (one
    device)."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    dry_run: bool = False
    """Check store and configuration, print what would be trained, and stop."""

    def how(self) -> dict[str, Any]:
        """Return the keyword arguments of the training functions."""
        names = ("resume", "device", "allow_leak", "log")
        return {name: getattr(self, name) for name in names}


class Configuration(Protocol):
    """Configuration of a run."""

    def to_dict(self) -> dict[str, Any]:
        """Convert to a plain dict for JSON."""


def fused_lora(rank: int) -> Callable[[Any], object] | None:
    """Function that accelerates LoRA on the language model; None without LoRA."""
    if not rank:
        return None
    from ..integrations.peft import accelerate_peft

    return accelerate_peft


def given(config: object, *names: str) -> dict[str, Any]:
    """Return the options of a command that are not None, by name."""
    return {name: value for name in names if (value := getattr(config, name)) is not None}


def spread(whole: Recipe, config: TrainOptions) -> Recipe:
    """Put the device map of a command line into a configuration."""
    if config.llm_device_map is None:
        return whole
    from ..lm.device_map import parse_device_map

    return replace(whole, llm_device_map=parse_device_map(config.llm_device_map))  # type: ignore[type-var]


def print_configuration(whole: Configuration) -> None:
    """Print a configuration as JSON that ``--config`` reads."""
    print(json.dumps(whole.to_dict(), indent=2))


def report_size(lines: Iterable[str]) -> None:
    """Print shapes, parameters, memory and time of a run, one fact a line."""
    for line in lines:
        print(line)


def report_dry_run(audit: Audit) -> None:
    """Print the audit of a run that was not started."""
    print(f"audit        {audit.summary()}")
    say("dry run: nothing was trained")


def describe_trials(store: VoxelStore | StoreCollection, size: str) -> None:
    """Print the store and the sizes of the parts that training reads."""
    print(f"store        {store.fingerprint()}, {size}")
    print(f"trials       {len(store.split.train)} train, {len(store.split.val)} validation")


def say_done(out: Path) -> None:
    """Print where the model is and the next command."""
    say(f"model written to {out / 'model'}; next: fastbrain evaluate {out}")


def llm4brain_recipe(config: Any, *, function: str) -> RunConfig:
    """Read the configuration of LLM4Brain from the options ``config``, ``preset`` and ``llm``.

    Raises
    ------
    ConfigError
        Both a configuration and a preset are given, or the preset of the paper without a language
        model.
    """
    from ..llm4brain.training import RunConfig

    if config.config and config.preset:
        raise ConfigError(
            f"{function}: --config and --preset must not both be given. Use one of them."
        )
    if config.config:
        whole = RunConfig.from_dict(read_json(config.config))
    else:
        whole = RunConfig.preset(config.preset or "fastbrain")
    whole = replace(whole, **given(config, "llm"))
    printed = getattr(config, "print_config", False)
    if config.preset == "paper" and whole.llm is None and not printed:
        raise ConfigError(
            f"{function}: --preset paper must be given a language model, got none. Use --preset "
            f"paper --llm {_EXAMPLE}, or --preset paper-small, which is not of the paper's size."
        )
    return whole
