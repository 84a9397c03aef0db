"""Files of a run, mutated: whatever they hold, only an error of ours comes out."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import pytest
from known import perfect

from fastbrain._environment import check_environment
from fastbrain._io import write_json
from fastbrain._run_kind import run_kind
from fastbrain._runfiles import changed_entries, read_manifest, read_metrics
from fastbrain.brainllm.training.pipeline import train_brainllm_run
from fastbrain.commands import compare as compare_command
from fastbrain.commands import decode as decode_command
from fastbrain.errors import CheckpointError, DiskError, FastbrainError
from fastbrain.evaluation import Score, evaluate_text, read_samples, write_samples
from fastbrain.evaluation.records import sample_scores
from fastbrain.evaluation.report.outputs import data_facts, histories
from fastbrain.evaluation.run_store import open_store, scored_trials
from fastbrain.llm4brain import evaluate as evaluation_run
from fastbrain.llm4brain.model_card import card_text
from fastbrain.llm4brain.training import train_llm4brain
from fastbrain.llm4brain.training.few_shot import adapt
from fastbrain.llm4brain.training.pretrain_encoder import train_scmbm
from fastbrain.lm.kept_llm import kept_llm
from fastbrain.training.run_folder import claim, reason_of
from fastbrain.vqlm import evaluate as evaluation_vqlm

MUTATIONS = 120  # of each file: 720 in all
# what an entry may be turned into
STRANGE = (
    None, True, -1, 0, 2**70, 1e999, float("nan"), "", "\0", "\ud800", "x" * 5000, "../..", "/etc",
    [], [None], ["a", 1], {}, {"a": None}, [[[]]],
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory, store, finished_run):
    """A run folder with a file of every kind."""
    run = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(finished_run, run)
    result = evaluate_text(*perfect(24), bert=False)
    facts = {"split": store.split.to_json(), "audit": {"clean": True, "allowed": None}}
    write_json(run / "metrics.json", result.to_json() | facts | {"adaptation": "inductive"})
    write_samples(run / "samples.parquet", result)
    claim(run, {"config": {"seed": 0}}, allow_leak="a test")
    return run


def read_manifest_of(run: Path, store) -> None:
    run_kind(run, function="test")
    manifest = read_manifest(run, function="test")
    scored_trials(manifest, store, function="test")
    open_store(run, manifest, store.path, function="test")
    data_facts(store, {"adaptation": "", "adapt_trials": [], **manifest})


def read_metrics_of(run: Path, _store) -> None:
    found = read_metrics(run / "metrics.json", function="test")
    described = {
        "card": {"llm": "a/b", "tr": 1.0, "preprocessing": {}, "split": {}, "training": {},
                 "prompt": "", "fingerprint": ""},
        "model": {"frames": 1}, "grid_fingerprint": "", "kernel": [1, 1, 1],
    }  # fmt: skip
    card_text(described, scores=found["scores"])
    [Score.from_json(row) for row in found["scores"]]


def read_samples_of(run: Path, _store) -> None:
    sample_scores(read_samples(run / "samples.parquet"))


READERS = {
    "manifest.json": read_manifest_of,
    "metrics.json": read_metrics_of,
    "samples.parquet": read_samples_of,
    "config.json": lambda run, _: (reason_of(run), claim(run, {"config": {"seed": 0}})),
    "llm.json": lambda run, _: kept_llm(run),
    "stages/stage1/log.jsonl": lambda run, _: histories(run),
}


def mutated(content: bytes, rng: random.Random, name: str) -> bytes:
    """Bits flipped, bytes cut out, put in or doubled, or an entry turned into something else."""
    kind = rng.randrange(5)
    at = rng.randrange(len(content))
    if kind == 0:
        changed = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 1:
        return content[:at] + content[at + rng.randint(1, 40) :]
    if kind == 2:
        return content[:at] + rng.randbytes(rng.randint(1, 9)) + content[at:]
    if not name.endswith(".json"):
        return content[:at]
    value = json.loads(content)
    here, place = [value], value
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = rng.choice(list(keys))
        here.append((place, key))
        place = place[key]
        if rng.random() < 0.4:
            break
    owner, key = here[-1] if len(here) > 1 else ({"": 0}, "")
    if isinstance(owner, dict) and rng.random() < 0.3:
        del owner[key]
    else:
        owner[key] = rng.choice(STRANGE)
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_of_a_run_ends_in_an_error_of_ours_or_is_right(whole, store, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    READERS[name](run, store)  # as it is, it is read
    content = (whole / name).read_bytes()
    rng = random.Random(name)
    refused = 0
    for _ in range(MUTATIONS):
        (run / name).write_bytes(mutated(content, rng, name))
        try:
            READERS[name](run, store)
        except FastbrainError:
            refused += 1
    assert refused > MUTATIONS // 4


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", "[]"),
        ("manifest.json", "{}"),
        ("manifest.json", '{"store": 3}'),
        ("metrics.json", '{"scores": [{"metric": "bleu1"}]}'),
        ("metrics.json", '{"scores": {}}'),
        ("metrics.json", "9" * 5000),
        ("stages/stage1/log.jsonl", "3\n"),
        ("stages/stage1/log.jsonl", '{"epoch": 1, "step": 1, "loss": NaN}\n'),
    ],
)
def test_a_file_that_is_none_of_ours_is_named(whole, store, tmp_path, name, content):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / name).write_text(content)
    with pytest.raises(CheckpointError, match=Path(name).name):
        READERS[name](run, store)


def test_a_flipped_bit_of_the_samples_is_found(whole, tmp_path):
    content = (whole / "samples.parquet").read_bytes()
    before = read_samples(whole / "samples.parquet")
    rng, silent = random.Random(0), 0
    for _ in range(100):
        changed = bytearray(content)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        (tmp_path / "s.parquet").write_bytes(bytes(changed))
        try:
            silent += read_samples(tmp_path / "s.parquet") != before
        except FastbrainError:
            continue
    # pages are checksummed; the footer, which names the columns, is not
    assert silent <= 5


class Worked(Exception):
    """Raised by what stands for the work."""


@pytest.fixture
def read_only(monkeypatch):
    """Every folder refuses new files, as on a read-only disk; root may write anywhere else."""

    def refuse(*_args, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("fastbrain._io.tempfile.mkstemp", refuse)


def work(*_args, **_options):
    raise Worked


def test_evaluate_refuses_a_read_only_run_before_the_work(
    finished_run, store, read_only, monkeypatch
):
    monkeypatch.setattr(evaluation_run, "evaluate_model", work)
    with pytest.raises(DiskError, match="Read-only file system"):
        evaluation_run.evaluate_run(finished_run, store=store.path)


@pytest.mark.parametrize(
    ("count", "missing", "words"),
    [
        (5, None, "at least 100 derangements, got 5"),
        (100, "matplotlib", "fastbrain-fmri\\[demo\\]"),
    ],
)
def test_evaluate_refuses_what_it_cannot_finish_before_the_work(
    finished_run, store, monkeypatch, count, missing, words
):
    monkeypatch.setattr(evaluation_run, "evaluate_model", work)
    if missing:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(FastbrainError, match=words):
        evaluation_run.evaluate_run(finished_run, store=store.path, count=count)


@pytest.mark.parametrize(
    "start",
    [
        lambda run, store: train_llm4brain(store, run, resume=True),
        lambda run, store: train_brainllm_run(store, run, resume=True),
        lambda run, store: train_scmbm(store, run, resume=True),
        lambda run, store: adapt(run, store, run / "new", subject="02", runs=1),
        lambda run, _: evaluation_vqlm.evaluate_vqlm(run, None),
        lambda run, _: decode_command.run(decode_command.Config(run=run, out=run / "x.tsv")),
        lambda run, _: compare_command.run(compare_command.Config((run, run), out=run / "x")),
    ],
)
def test_what_writes_refuses_a_read_only_folder_before_the_work(
    finished_run, store, read_only, start
):
    before = sorted(finished_run.rglob("*"))
    with pytest.raises(DiskError, match="Read-only file system"):
        start(finished_run, store)
    assert sorted(finished_run.rglob("*")) == before


def test_a_folder_to_come_is_asked_of_its_parent(tmp_path):
    check_environment(tmp_path / "a" / "b", function="test")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="must be a folder"):
        check_environment(tmp_path / "file" / "b", function="test")


@pytest.mark.parametrize(
    ("now", "before", "changed", "exact"),
    [
        ({"a": (1, 2)}, {"a": [1, 2]}, [], []),
        ({"a": 1, "b": 2}, {"a": 3, "b": 2}, ["a"], ["a"]),
        ({"a": 1}, {"a": 1, "more": 5}, [], ["more"]),
        ({"b": 1, "a": 2}, None, ["a", "b"], ["a", "b"]),
        ({"a": None}, {}, [], []),
    ],
)
def test_changed_entries(now, before, changed, exact):
    assert changed_entries(now, before) == changed
    assert changed_entries(now, before, exact=True) == exact
