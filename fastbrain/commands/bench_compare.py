"""Compare two files of benchmark rows, or the working tree with another commit.

fastbrain bench compare before.jsonl after.jsonl

fastbrain bench compare --base main --op vq_lookup --case 64x1024x64

A ratio below 1 means that the second is faster. With --base, the commit is built in a temporary git
worktree, both are timed in turn, each in processes of its own, and the worktree is removed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from .._environment import check_environment, check_file
from .._io import write_json
from .._progress import say
from ..errors import InputError


@dataclass(frozen=True)
class Config:
    """Options of ``fastbrain bench compare``."""

    rows: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ROWS")] = ()
    """Two files of rows: before and after; none with --base."""
    base: str | None = None
    """Commit, tag or branch that the working tree is compared with."""
    op: tuple[str, ...] = ()
    """With --base: ops; default: all."""
    case: tuple[str, ...] = ()
    """With --base: cases; default: all of the ops."""
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """With --base: precision."""
    threads: int | None = None
    """With --base: threads of the CPU; default: those of PyTorch."""
    blocks: int = 5
    """With --base: how often each side is timed, in turn; at least 3."""
    budget_s: float = 60.0
    """With --base: seconds for one block of one side."""
    rows_out: Path = Path("runs/bench/base")
    """With --base: folder of the rows of both sides."""
    least: float = 0.03
    """Smallest change that counts, as a share."""
    any_threads: bool = False
    """Compare rows of different numbers of threads."""
    only: tuple[Literal["faster", "slower", "same"], ...] = ()
    """List only these; default: all."""
    out: Path | None = None
    """JSON file for the comparison."""


def run(config: Config) -> int:
    """Compare and print; return 1 if something of ours is slower than the base."""
    from ..bench.comparing import change_lines, compare_rows
    from ..bench.rows import OURS, read_rows

    if (config.base is None) != (len(config.rows) == 2) or (config.base and config.rows):
        raise InputError(
            f"bench compare: two files of rows or --base must be given, got {len(config.rows)} "
            f"files and base {config.base}. fastbrain bench compare A.jsonl B.jsonl"
        )
    if config.out is not None:
        check_file(config.out, function="bench compare")
    files = list(config.rows) if config.base is None else _timed(config, config.base)
    found = compare_rows(
        read_rows(files[:1]),
        read_rows(files[1:]),
        least=config.least,
        threads=not config.any_threads,
    )
    print("\n".join(change_lines(found, only=config.only)))
    if config.out is not None:
        write_json(config.out, found.to_json())
    slower = any(c.verdict == "slower" and c.provider == OURS for c in found.changes)
    return 1 if config.base is not None and slower else 0


def _timed(config: Config, ref: str) -> list[Path]:
    from ..bench.base import built, check_checkout, commit_of, time_both
    from ..bench.session import Plan

    if config.blocks < 3:
        raise InputError(
            f"bench compare: blocks must be at least 3, got {config.blocks}. Raise --blocks."
        )
    options = {
        "ops": config.op,
        "cases": config.case,
        "dtype": config.dtype,
        "threads": config.threads,
        "budget_s": config.budget_s,
    }
    Plan(**options)  # type: ignore[arg-type]
    root = check_checkout()
    commit = commit_of(root, ref)
    check_environment(config.rows_out, function="bench compare")
    config.rows_out.mkdir(parents=True, exist_ok=True)
    say(f"building {ref} ({commit[:8]})")
    with built(root, commit) as site:
        sides = time_both(
            site, config.rows_out.resolve(), commit, [json.dumps(options)], blocks=config.blocks
        )
    return [sides.base, sides.head]
