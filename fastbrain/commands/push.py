"""Upload a trained model, with a card that holds its scores, to the Hugging Face hub.

fastbrain push runs/first my-lab/llm4brain-had

Weights, grid or components, codes with their language model (vq-lm), configuration and card go;
recordings, decoded text and checkpoints do not. A new repository is private unless --public is
said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._progress import say


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
    from .._run_kind import run_kind
    from ..brainllm.push_to_hub import push_brainllm
    from ..llm4brain import push_to_hub
    from ..vqlm.push_to_hub import push_vqlm

    kind = run_kind(config.run, function="push")
    push = {"brainllm": push_brainllm, "vq-lm": push_vqlm}.get(kind, push_to_hub)
    # a run on several grids has pooled scores
    places = [config.run / name for name in ("metrics.json", "scores.json")]
    metrics = next((path for path in places if path.is_file()), places[0])
    if not metrics.is_file():
        say("note: not evaluated yet, the card says so; fastbrain evaluate scores it")
    address = push(
        config.run / "model" if kind == "llm4brain" else config.run,
        config.name,
        metrics=metrics if metrics.is_file() else None,
        license=config.license,
        private=not config.public,
    )
    print(address)
