"""Save and train the three systems in processes that kill themselves at a chosen call.

``python kill_cases.py`` imports and builds once, then forks a process for every job that it reads
as a line of JSON, and answers how that process ended: its exit code (-9 if it was killed) and the
number of calls that its saves took.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import process_cases
import torch

from fastbrain.brainllm import BrainLLM, BrainLLMConfig, load_brainllm, save_brainllm
from fastbrain.brainllm.card import BrainLLMCard
from fastbrain.llm4brain.saving import ModelCard, from_pretrained, save_pretrained
from fastbrain.training import checkpoint as checkpoints
from fastbrain.training import run as runs
from fastbrain.vqlm import QuantiserConfig, VQAutoencoder, VQAutoencoderConfig
from fastbrain.vqlm.saving import CoderCard, load_vq, save_vq

# the stage of each system that is trained
STAGES = {"llm4brain": "stage2", "brainllm": "tune", "vqlm": "vq"}
Save = Callable[[Path, int], object]
Load = Callable[[Path], int]


class Server:
    """Client of a process that runs the jobs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, do: str, system: str, folder: Path, at: int = 0, **options: Any) -> Any:
        """Run one job, killed at call `at` of its saves if that is not 0."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {"do": do, "system": system, "folder": str(folder), "at": at, **options}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def server() -> Iterator[Server]:
    """Start the process that runs the jobs, and end it."""
    with subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        yield Server(process)
        assert process.stdin is not None
        process.stdin.close()


def systems() -> dict[str, tuple[Save, Load]]:
    """Save a version number in a model of each system, and read it back."""
    brain = process_cases.llm4brain()
    language = (brain.llm, brain.text_tokenizer)

    def save_brain(folder: Path, version: int) -> None:
        brain.log_tau.data.fill_(version)
        save_pretrained(brain, folder, ModelCard("none", 2.0), replace=True)

    def load_brain(folder: Path) -> int:
        return int(from_pretrained(folder, llm=language).log_tau.item())

    texts = BrainLLM(
        BrainLLMConfig(features=8, frames=2), llm=language[0], text_tokenizer=language[1]
    )

    def save_texts(folder: Path, version: int) -> None:
        texts.marks.data.fill_(version)
        save_brainllm(texts, folder, BrainLLMCard("none", 2.0), replace=True)

    def load_texts(folder: Path) -> int:
        return int(load_brainllm(folder, llm=language).model.marks[0, 0].item())

    sizes = VQAutoencoderConfig(4, patch=5, dim=8, depth=1, heads=2, decoder_depth=1,
                                quantiser=QuantiserConfig(codes=8, dim=4))  # fmt: skip
    coder = VQAutoencoder(sizes, center=torch.zeros(4), spread=torch.ones(4))
    first = next(iter(dict(coder.named_parameters())))

    def save_codes(folder: Path, version: int) -> None:
        coder.get_parameter(first).data.fill_(version)
        save_vq(coder, folder, CoderCard(("a", "b", "c", "d"), 2.0, ("r",)), replace=True)

    def load_codes(folder: Path) -> int:
        return int(load_vq(folder)[0].get_parameter(first).flatten()[0].item())

    return {
        "llm4brain": (save_brain, load_brain),
        "brainllm": (save_texts, load_texts),
        "vqlm": (save_codes, load_codes),
    }


def kill_saves(run: Server, system: str, folder: Path, kills: int, seed: int = 0) -> int:
    """Kill saves of a model folder; return how many left something half-written.

    After each kill the folder holds the last version or the one being saved, and the next start
    removes what was left.
    """
    from fastbrain._io import new_output

    rng = random.Random(seed)
    load, model = systems()[system][1], folder / "model"
    calls = run("save", system, folder, version=0)["calls"]
    torn, version = 0, 0
    for _ in range(kills):
        job = run("save", system, folder, at=rng.randint(1, calls), version=version + 1)
        assert job["code"] == -signal.SIGKILL
        torn += bool(list(folder.glob(".*")))
        new_output(folder, resume=True)
        assert [p.name for p in folder.iterdir()] == ["model"]
        found = load(model)
        assert found in (version, version + 1), (found, version)
        version = found
    return torn


def kill_training(run: Server, system: str, folder: Path, kills: int, seed: int = 0) -> None:
    """Kill trainings inside their saves; each goes on to the bits of one that was not killed."""
    rng = random.Random(seed)
    stage = STAGES[system]
    whole = run("train", system, folder / "whole")
    assert whole["code"] == 0
    wanted = _ended(folder / "whole" / stage)
    for kill in range(kills):
        cut = folder / f"cut-{kill}"
        assert run("train", system, cut, at=rng.randint(1, whole["calls"]))["code"] == -9
        assert run("train", system, cut)["code"] == 0
        found = _ended(cut / stage)
        for kind in ("model", "optimizer", "rng"):
            one, other = getattr(wanted, kind), getattr(found, kind)
            assert one.keys() == other.keys()
            assert all(torch.equal(one[k], other[k]) for k in one), (system, kill, kind)
        assert not list((cut / stage / "checkpoints").glob(".*"))


def _ended(run: Path) -> checkpoints.Checkpoint:
    newest = checkpoints.latest_checkpoint(run)
    assert newest is not None
    return checkpoints.load_checkpoint(newest)


def serve() -> None:
    """Fork a process for every job."""
    torch.set_num_threads(1)
    import accelerate  # noqa: F401  # what the forked processes would each import
    import peft  # noqa: F401

    saves = {name: save for name, (save, _) in systems().items()}
    for line in sys.stdin:
        job = json.loads(line)
        there, here = os.pipe()
        child = os.fork()
        if not child:
            code = 1
            try:
                _work(job, saves, here)
                code = 0
            finally:
                os._exit(code)
        os.close(here)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(there) as said:
            calls = said.read()
        print(json.dumps({"code": code, "calls": int(calls or 0)}), flush=True)


def _work(job: Any, saves: dict[str, Save], out: int) -> None:
    seen = 0

    def count(_frame: FrameType, _event: str, _what: object) -> None:
        nonlocal seen
        seen += 1
        if seen == job["at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    # a killed process loses nothing that it wrote: only a power cut does, and fsync is slow
    os.fsync = lambda _handle: None  # type: ignore[assignment]
    folder = Path(job["folder"])
    if job["do"] == "save":
        sys.setprofile(count)
        saves[job["system"]](folder / "model", job["version"])
        sys.setprofile(None)
    else:
        save = checkpoints.save_checkpoint

        def counted(*given: Any, **options: Any) -> Any:
            sys.setprofile(count)
            try:
                return save(*given, **options)
            finally:
                sys.setprofile(None)

        runs.save_checkpoint = counted  # type: ignore[assignment]
        process_cases.train(folder, STAGES[job["system"]], resume=True)
    os.write(out, str(seen).encode())


if __name__ == "__main__":
    serve()
