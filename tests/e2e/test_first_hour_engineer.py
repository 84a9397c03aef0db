"""The first hour of an engineer: the installation, the kernels, the command line, a long run."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from new_user import BY_RUN, PREPARE

pytest.importorskip("nilearn")
pytestmark = pytest.mark.slow(seconds=100)


def test_the_installation(shell):
    names = shell.python(
        "from importlib.metadata import metadata\nimport fastbrain\n"
        "print(metadata('fastbrain-fmri')['Name'], fastbrain.__file__)"
    )
    assert names.startswith("fastbrain-fmri ")
    assert str(shell.bin.parent) in names
    facts = json.loads(shell.run("fastbrain doctor --json").stdout)
    assert facts
    assert "vq" in shell.run("fastbrain selftest --backend cpu").stdout


def test_the_kernels(shell):
    told = shell.python("""
import torch, fastbrain as fb
x, codes = torch.randn(7, 5), torch.randn(3, 5)
found = fb.vq_lookup(x, codes)
assert torch.equal(found, torch.cdist(x, codes).argmin(1))
print(fb.explain("vq_lookup", x, codes))
for wrong in (x.to("meta"), x[:, :4], x.int()):
    try:
        fb.vq_lookup(wrong, codes)
    except fb.FastbrainError as error:
        print("refused:", error)
""")
    assert told.count("refused:") == 3
    assert "reference" in told


def test_a_configuration_without_paths(shell):
    for kind in ("", "brainllm "):
        config = json.loads(shell.run(f"fastbrain train {kind}--print-config").stdout)
        assert config


def test_every_command_says_what_it_takes(shell):
    listed = shell.run("fastbrain --help").stdout
    for name in ("prepare", "train", "decode", "evaluate", "leave-out", "adapt", "push"):
        assert name in listed
        told = shell.run(f"fastbrain {name} --help").stdout
        assert "PATH PATH" not in told
        assert f"fastbrain {name}" in told


def test_what_cannot_run_is_refused_before_anything_is_written(trained):
    train = "fastbrain train store other --config small.json --stimulus text"
    trained.refused(f"{train} --device cuda", "CUDA")
    lines = {
        "fastbrain evaluate run --device cuda": "CUDA",
        "fastbrain decode run --device cuda": "CUDA",
        f"{train} --llm ./nothere": "nothere",
        f"{train} --log tensorbord": "tensorboard",
        "fastbrain push run me/mine": "HF_HUB_OFFLINE",
    }
    trained.refused_in_turn(lines)
    prepare = f"{PREPARE} {BY_RUN}".replace(" store ", " s2 ")
    lines = dict.fromkeys((prepare, "fastbrain evaluate run"), "process")
    ranks = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
    trained.refused_in_turn(lines, env=ranks)


def interrupted(shell, line, log, *, least):
    """Rows of the log of a training that is interrupted once it has at least so many."""
    program, *words = line.split()
    with subprocess.Popen(
        [str(shell.bin / program), *words],
        cwd=shell.folder,
        env=shell.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a test process in the background ignores interrupts, and its children would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        end = time.monotonic() + 300
        while not (log.is_file() and log.read_text().count("\n") >= least):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "--resume" in told
    return [json.loads(row) for row in log.read_text().splitlines()]


def test_a_run_that_is_interrupted_goes_on(trained):
    line = "fastbrain train store long --config long.json --stimulus text --log tensorboard"
    config = json.loads((trained.folder / "small.json").read_text())
    config["stage2"]["epochs"] = 400
    (trained.folder / "long.json").write_text(json.dumps(config))
    log = trained.folder / "long" / "stages" / "stage2" / "log.jsonl"
    rows = interrupted(trained, line, log, least=2)
    assert len(rows) < 400
    assert list((trained.folder / "long" / "tensorboard").glob("events.*"))
    # what is left would only take time: interrupted again after one more epoch
    again = interrupted(trained, f"{line} --resume", log, least=len(rows) + 1)
    assert len(again) < 400
    assert [row["epoch"] for row in again] == list(range(1, len(again) + 1))
    # interrupted between log and checkpoint, an epoch is trained again, at another pace
    pace = ("windows_per_s", "tokens_per_s", "wait")
    for one, other in zip(rows, again, strict=False):
        assert one | dict.fromkeys(pace) == other | dict.fromkeys(pace)
