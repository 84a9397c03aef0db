"""What a new user has: fastbrain installed from its wheel, a terminal, and an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIMULATE = """
import fastbrain as fb
design = fb.CohortDesign(subjects=2, runs=4, trials=8, resolution_mm=8, snr=2.0)
fb.simulate_cohort("cohort", design)
"""
SMALL = {
    "model": {
        "encoder": {"dim": 24, "depth": 1},
        "qformer": {"dim": 24, "depth": 1, "n_queries": 4},
    },
    "pretrain": None,
    "stage1": None,
    "stage2": {"epochs": 1, "batch_size": 8},
}
# runs the command lines that it is given one after the other; prints status and errors of each
IN_TURN = """
import contextlib, io, json, sys
from fastbrain.cli import main
found = []
for line in json.loads(sys.argv[1]):
    told = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
        found.append([main(line.split()[1:]), told.getvalue()])
print(json.dumps(found))
"""
PREPARE = "fastbrain prepare cohort/runs.tsv store --kernel 4 4 4 --delay 4 --window 2"
BY_RUN = "--split-by run --train 01 02 --val 03 --test 04 --new-stimuli"


@dataclass(frozen=True)
class Shell:
    """A terminal in one folder, with the installed wheel on its path.

    Parameters
    ----------
    bin : Path
        Programs of the environment.
    folder : Path
    """

    bin: Path
    folder: Path

    def run(
        self, line: str, *, status: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line, and check its exit status."""
        program, *words = line.split()
        done = subprocess.run(
            [str(self.bin / program), *words],
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == status, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert "Traceback" not in done.stderr, done.stderr[-3000:]
        return done

    def refused(self, line: str, *words: str) -> None:
        """Run a command line that is refused in one line, with these words, and writes nothing."""
        before = self._files()
        _check_refusal(self.run(line, status=1).stderr, *words)
        assert self._files() == before, line

    def refused_in_turn(self, lines: dict[str, str], *, env: dict[str, str] | None = None) -> None:
        """Run command lines, each of which is refused with its word and writes nothing.

        All run in one process: each process would import torch anew.
        """
        before = self._files()
        found = json.loads(self.python(IN_TURN, json.dumps(list(lines)), env=env))
        for (line, word), (status, told) in zip(lines.items(), found, strict=True):
            assert status == 1, f"{line}\n{told}"
            _check_refusal(told, word)
        assert self._files() == before

    def _files(self) -> dict[Path, int]:
        """Time of modification of every file, ns."""
        return {p: p.stat().st_mtime_ns for p in self.folder.rglob("*") if p.is_file()}

    def python(self, code: str, *arguments: str, env: dict[str, str] | None = None) -> str:
        """Run a program that imports the installed package, and return what it prints."""
        done = subprocess.run(
            [str(self.bin / "python"), "-c", code, *arguments],
            cwd=self.folder,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """Environment without the settings of the test process, and without a network."""
        kept = ("PATH", "HOME", "LANG", "TMPDIR", "OMP_NUM_THREADS")
        own = {name: os.environ[name] for name in kept if name in os.environ}
        own |= {"FASTBRAIN_CACHE": str(self.bin.parent / "cache"), "HF_HUB_OFFLINE": "1"}
        return own | (more or {})


def _check_refusal(told: str, *words: str) -> None:
    """Check that a command printed one line of error, with these words."""
    said = [row for row in told.splitlines() if row.startswith("fastbrain ")]
    assert len(said) == 1, told
    for word in words:
        assert word in said[0], said[0]


def install_wheel(folder: Path) -> Path:
    """Build the wheel and install it into an environment that has its requirements."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = ["wheel", "--no-build-isolation", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run([*pip, *wheel], check=True)
    (built,) = folder.glob("*.whl")
    own = folder / "venv"
    venv.create(own, with_pip=False)
    python = own / "bin" / "python"
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(built)]
    subprocess.run([*pip, *install], check=True)
    (site,) = own.glob("lib/python*/site-packages")
    # the requirements are those of the test environment; its own fastbrain comes after the wheel's
    (site / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return own / "bin"


def try_out(bin: Path, folder: Path) -> Path:
    """A small cohort, its store and a run, made as a user makes them."""
    work = folder / "work"
    work.mkdir()
    shell = Shell(bin, work)
    shell.python(SIMULATE)
    (work / "small.json").write_text(json.dumps(SMALL))
    shell.run(f"{PREPARE} {BY_RUN}")
    shell.run("fastbrain train store run --config small.json --stimulus text")
    return work
