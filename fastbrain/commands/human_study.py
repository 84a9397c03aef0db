"""Score the answers of people to the forms of `fastbrain evaluate --human-study`.

fastbrain human-study forms answers/form-01-answers.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._environment import check_file
from .._io import write_atomic, write_json
from .._progress import say


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain human-study``."""

    study: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")] = tyro.MISSING
    """Folder that `fastbrain evaluate --human-study` wrote."""
    answers: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Files that raters saved, one for each form."""
    key: Path | None = None
    """File of the key, if it is kept elsewhere; default: key/key.json of the study."""
    out: Path | None = None
    """Folder for results.json and results.md; default: the study."""
    seed: int = 0
    """Seed of bootstrap and sign flips."""


def run(config: Config) -> None:
    """Score the answers, and print and write the result."""
    from ..evaluation import score_human_study
    from ..evaluation.human_study.page import result_page

    out = config.study if config.out is None else config.out
    for name in ("results.json", "results.md"):
        check_file(out / name, function="human-study")
    result = score_human_study(config.study, config.answers, key=config.key, seed=config.seed)
    page = result_page(result)
    write_json(out / "results.json", result.to_json())
    write_atomic(out / "results.md", page)
    print(page, end="")
    say(f"results.json and results.md: {out}")
