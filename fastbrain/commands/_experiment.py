"""Options and steps that the experiments of ``fastbrain study`` share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .._progress import say
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..experiments.grid import Variant
    from ..experiments.systems import Base


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """Options of the experiments."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder from `fastbrain train`; its configuration is the reference."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the experiment. The same line goes on where it was interrupted."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of weights and order; every variant is trained once for each."""
    store: Path | None = None
    """Folder of the store; default: its recorded path, or the same path relative to the run."""
    derangements: int = 100
    """Number of derangements for the comparison, at least 100."""
    bert: bool = True
    """Whether to compute BERTScore, cosine and identification by meaning; see evaluate."""
    allow_leak: str | None = None
    """Reason why a leak found by the audit is acceptable; included in every report."""
    device: str = "cpu"
    """Device for training, e.g. cuda."""
    dry_run: bool = False
    """List what would be trained, and stop."""


def run_experiment(
    config: ExperimentOptions,
    name: str,
    variants: Callable[[Base], Sequence[Variant]],
    *,
    system: Literal["LLM4Brain", "BrainLLM"],
    title: str,
    axis: str = "",
    notes: Sequence[str] = (),
) -> None:
    """Open the run, train and score all variants, and write and print the table."""
    from ..experiments.report import check_report, write_results
    from ..experiments.systems import open_base, train_and_score

    base = open_base(config.run, store=config.store, function=f"study {name}")
    if base.system.name != system:
        raise ConfigError(
            f"study {name}: {config.run} must be a run of {system}, got one of {base.system.name}."
        )
    found = variants(base)
    runs = f"{len(found)} variants on {len(config.seeds)} seeds"
    if config.dry_run:
        for variant in found:
            print(f"{variant.name:<20} {variant.title}")
        say(f"dry run: {runs}; nothing was trained")
        return
    check_report()
    say(runs)
    results = train_and_score(
        base,
        found,
        config.out,
        seeds=config.seeds,
        axis=axis,
        count=config.derangements,
        bert=config.bert,
        device=config.device,
        allow_leak=config.allow_leak,
    )
    print(write_results(config.out, results, title=title, notes=notes))
    say(f"table, figure and JSON: {config.out}")
