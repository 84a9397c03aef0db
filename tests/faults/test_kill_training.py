"""Training killed again and again ends in the curve and weights of one that never stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import torch

from fastbrain.training import latest_checkpoint, load_checkpoint

TIMING = ("windows_per_s", "tokens_per_s", "wait")
EPOCHS = 5

# imports once, then forks a process that trains for every folder it reads;
# says each step, and how it ended
SERVER = """
import os, random, sys, time
import accelerate, numpy as np, torch
torch.set_num_threads(1)
# a killed process loses nothing that it wrote: only a power cut does, and fsync is slow
os.fsync = lambda handle: None
from fastbrain.llm4brain.training import ClipLoader
from fastbrain.training import Objective, OptimConfig, StageConfig, fit

class Noisy(Objective):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(12, 1)

    def forward(self, batch):
        os.write(1, b"step\\n")
        time.sleep(0.004)
        # from every generator that a checkpoint has to keep
        noise = random.random() + np.random.random() + torch.rand(())
        x = batch.frames.flatten(1)
        error = (self.line(x).squeeze(1) - x.sum(1)).square().mean()
        return {"loss": error + 0.01 * noise * self.line.weight.sum()}

def latents(trial):
    return torch.rand(3, 4, generator=torch.Generator().manual_seed(int(trial)))

def train(run):
    torch.manual_seed(0)
    loader = ClipLoader({str(i): "x" for i in range(40)}, latents, batch_size=4, seed=3)
    optim = OptimConfig(lr=0.05, warmup_steps=2)
    often = {"checkpoint_every": 1, "keep_best": False, "optim": optim}
    config = StageConfig("kill", epochs=int(sys.argv[1]), **often)
    fit(Noisy(), loader, config, run_dir=run, resume=True)

for line in sys.stdin:
    child = os.fork()
    if not child:
        os.write(1, f"pid {os.getpid()}\\n".encode())
        train(line.strip())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    os.write(1, f"ended {status}\\n".encode())
"""


@pytest.mark.slow
def test_kill_nine_at_any_instant_changes_no_bit(tmp_path):
    rng = random.Random(0)
    kills = 0
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(EPOCHS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def train(name, *, steps=None):
            server.stdin.write(f"{tmp_path / name}\n")
            server.stdin.flush()
            pid = int(server.stdout.readline().removeprefix("pid "))
            told = 0
            while (line := server.stdout.readline()) == "step\n":
                told += 1
                if told == steps:
                    # anywhere in the step or in the checkpoint that follows it
                    time.sleep(rng.uniform(0, 0.01))
                    # it may have come to its end by itself
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return int(line.removeprefix("ended "))

        assert train("whole") == 0
        while kills < 40 and train("cut", steps=rng.randint(2, 8)) != 0:
            kills += 1
        # the last one may go to the end
        assert train("cut") == 0
        server.stdin.close()
    assert kills >= 3
    curves = []
    for name in ("whole", "cut"):
        lines = (tmp_path / name / "log.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        curves.append([{k: v for k, v in row.items() if k not in TIMING} for row in rows])
    assert len(curves[0]) == EPOCHS
    assert curves[0] == curves[1]
    ends = [load_checkpoint(latest_checkpoint(tmp_path / name)) for name in ("whole", "cut")]
    for kind in ("model", "optimizer", "rng"):
        one, other = (getattr(end, kind) for end in ends)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[k], other[k]) for k in one)
    assert ends[0].state == ends[1].state | {"history": ends[0].state["history"]}
