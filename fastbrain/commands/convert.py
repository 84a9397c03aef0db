"""Write the tensors of a torch pickle as safetensors, without running what it contains.

fastbrain convert models/encoder/pytorch_model.bin models/encoder/model.safetensors

Only tensors and plain values are read; a file that holds anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._environment import check_file
from .._progress import say
from ..errors import OutputExistsError


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain convert``."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Pickle of tensors by name: pytorch_model.bin, checkpoint.pth."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NEW-FILE")]
    """New safetensors file; the loaders look for model.safetensors in the same folder."""


def run(config: Config) -> None:
    """Convert the file and print the output path."""
    from ..llm4brain import convert_pickle

    if config.out.exists():
        raise OutputExistsError(
            f"convert: {config.out} must not exist yet. Remove it, or choose another name."
        )
    check_file(config.out, function="convert")
    convert_pickle(config.source, config.out)
    say(f"tensors written to {config.out}")
