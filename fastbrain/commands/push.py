"""Upload a trained model, with a card that holds its scores, to the Hugging Face hub.

fastbrain push runs/first my-lab/llm4brain-had

Weights, grid, configuration and card go; recordings, decoded text and checkpoints do not. A new
repository is private unless --public is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._progress import say
from .._runfiles import read_manifest
from ..errors import CheckpointError


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain push``."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder from `fastbrain train`; its scores are included if it was evaluated."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")]
    """Owner and name on the hub: my-lab/my-model."""
    license: str | None = None
    """License of the weights, as named on the hub (e.g. cc-by-nc-4.0)."""
    public: bool = False
    """Make a new repository public."""


def run(config: Config) -> None:
    """Check the model, write its card and upload both."""
    from ..llm4brain import push_to_hub

    kind = read_manifest(config.run, function="push").get("kind")
    if kind is not None:
        raise CheckpointError(f"push: {config.run} must be a run of LLM4Brain, got one of {kind}.")
    metrics = config.run / "metrics.json"
    if not metrics.is_file():
        say("note: not evaluated yet, the card says so; fastbrain evaluate scores it")
    address = push_to_hub(
        config.run / "model",
        config.name,
        metrics=metrics if metrics.is_file() else None,
        license=config.license,
        private=not config.public,
    )
    print(address)
