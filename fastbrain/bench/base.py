"""The working tree against another commit: built in a worktree, timed in turn, then removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .._progress import say, track
from ..errors import BackendError, ConfigError, InputError

_ROOT = Path(__file__).parents[2]
_BUILD_S = 1800.0
# the harness of this tree times both, so that both solve the same cases
_BLOCK = "import sys; from fastbrain.bench.block import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Sides:
    """Files of rows of both sides."""

    base: Path
    head: Path


def check_checkout(root: Path = _ROOT) -> Path:
    """The checkout that fastbrain runs from.

    Raises
    ------
    ConfigError
        It runs from an installed wheel, or git is missing.
    """
    if not (root / ".git").exists() or shutil.which("git") is None:
        raise ConfigError(
            f"bench compare: base needs a git checkout of fastbrain, got {root}. Install it from a "
            "checkout with pip install -e, or compare two files of rows."
        )
    return root


def commit_of(root: Path, ref: str) -> str:
    """Full name of a commit.

    Raises
    ------
    InputError
        The checkout has no such commit.
    """
    # --end-of-options: a name that begins with a hyphen is a name
    asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
    ran = subprocess.run(["git", "-C", str(root), *asked], capture_output=True, text=True)
    if ran.returncode != 0:
        raise InputError(
            f"bench compare: base must be a commit, tag or branch of {root}, got {ref!r}. "
            "`git log --oneline` lists commits."
        )
    return ran.stdout.strip()


@contextmanager
def built(root: Path, commit: str) -> Iterator[Path]:
    """A folder with the package of another commit, built by this Python; removed at the end.

    Raises
    ------
    BackendError
        It cannot be checked out or built.
    """
    with tempfile.TemporaryDirectory(prefix="fastbrain-base-") as folder:
        tree, site = Path(folder) / "tree", Path(folder) / "site"
        git = ["git", "-C", str(root), "worktree"]
        _run([*git, "add", "--detach", str(tree), commit], "check out")
        try:
            options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(site)]
            _run([sys.executable, "-m", "pip", "install", *options, str(tree)], "build")
            own, theirs = Path(__file__).parent, site / "fastbrain" / "bench"
            shutil.rmtree(theirs, ignore_errors=True)
            shutil.copytree(own, theirs, ignore=shutil.ignore_patterns("__pycache__"))
            yield site
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], capture_output=True)


def _run(command: Sequence[str], what: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_S)
    if ran.returncode != 0:
        raise BackendError(
            f"bench compare: the base must {what}, got {' '.join(ran.stderr.split())[-400:]}. "
            "Repair it, or choose another base."
        )


def time_both(site: Path, out: Path, commit: str, options: Sequence[str], *, blocks: int) -> Sides:
    """Time both sides in turn, each block in a process of its own.

    Parameters
    ----------
    site : Path
        Package of the base: :func:`built`.
    out : Path
        Folder for ``base.jsonl`` and ``head.jsonl``.
    commit : str
        Recorded in the rows of the base.
    options : sequence of str
        JSON of a plan, as :mod:`fastbrain.bench.block` reads it.
    blocks : int
        How often each side is timed.

    Returns
    -------
    Sides

    Raises
    ------
    BackendError
        A side cannot run the cases.
    """
    sides = Sides(out / "base.jsonl", out / "head.jsonl")
    for file in (sides.base, sides.head):
        file.unlink(missing_ok=True)
    for block in track(range(blocks), "timing blocks"):
        order = (True, False) if block % 2 == 0 else (False, True)
        for is_base in order:
            file = sides.base if is_base else sides.head
            _block(site if is_base else None, file, commit[:8] if is_base else "", options)
    say(f"rows: {sides.base} and {sides.head}")
    return sides


def _block(site: Path | None, out: Path, commit: str, options: Sequence[str]) -> None:
    environment = dict(os.environ)
    command = [sys.executable]
    if site is not None:
        # -S: the finder of an editable installation would come before PYTHONPATH
        command.append("-S")
        installed = dict.fromkeys(
            p for p in sys.path if p.endswith(("site-packages", "dist-packages"))
        )
        installed |= dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
        environment["PYTHONPATH"] = os.pathsep.join([str(site), *installed])
    command += ["-c", _BLOCK, str(out), commit, *options]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=out.parent)
    if ran.returncode != 0:
        side = "the base" if site is not None else "the working tree"
        raise BackendError(
            f"bench compare: {side} must run the cases, got "
            f"{' '.join(ran.stderr.split())[-400:]}. Repair it, or choose other cases."
        )
    for line in ran.stdout.splitlines():
        say(f"{out.stem}: {line}")
