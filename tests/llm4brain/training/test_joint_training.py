"""LLM4Brain trained on the grids of two people at once: runs, resuming, evaluation, decoding."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from functools import partial

import pytest
import torch
from fake_hub import hub_in
from two_people import write_two_people

from fastbrain import cli
from fastbrain._io import read_json, write_json
from fastbrain._runfiles import read_manifest
from fastbrain.brainllm.training import train_brainllm_run
from fastbrain.data import (
    WindowLoader,
    WindowSpec,
    plan_native_grids,
    split_by,
    write_collection,
)
from fastbrain.errors import CheckpointError, ConfigError, InputError
from fastbrain.evaluation.records import write_samples
from fastbrain.inference import decode
from fastbrain.llm4brain import (
    EncoderConfig,
    GridModels,
    LLM4BrainConfig,
    QFormerConfig,
    VideoConfig,
    evaluate_grids,
    evaluate_run,
    leave_out,
    load_grid_models,
    open_run,
)
from fastbrain.llm4brain.training import (
    RunConfig,
    adapt,
    preset,
    train_llm4brain,
)
from fastbrain.lm import small_llm
from fastbrain.training import OptimConfig

FAST = {"epochs": 2, "batch_size": 8, "optim": OptimConfig(lr=3e-3)}
CONFIG = RunConfig(
    stimulus="text",
    model=LLM4BrainConfig(
        encoder=EncoderConfig(dim=24, depth=1, heads=2, decoder_dim=12, decoder_heads=2),
        qformer=QFormerConfig(dim=24, depth=1, n_queries=4),
        readout_rank=16,
    ),
    video=None,
    **{
        name: replace(preset(name), **FAST)
        for name in ("pretrain", "calibrate", "stage1", "stage2")
    },
)


def by_run(trials):
    return split_by(trials, "run", train=["01", "02"], val=["03"], test=["04"])


def plan(runs, split=by_run):
    return plan_native_grids(
        runs, window=WindowSpec(4.0, 2), kernel=(3, 3, 3), high_pass_s=None, split=split
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("joint")
    return root, write_two_people(root / "cohort", runs=4)


@pytest.fixture(scope="module")
def config(cohort):
    """Settings with a language model that has hardly read the texts."""
    texts = [
        f"person {p} sees {r} of {k}" for p in ("01", "02") for r in range(5) for k in range(10)
    ]
    prompt = CONFIG.prompts[0]
    corpus = [f"{prompt} {text}" for text in texts]
    llm = small_llm(corpus, cache_dir=cohort[0] / "llm", dim=32, steps=20)
    return replace(CONFIG, llm=str(llm))


@pytest.fixture(scope="module")
def people(cohort):
    root, runs = cohort
    return write_collection(plan(runs), root / "people")


@pytest.fixture(scope="module")
def run(cohort, people, config):
    train_llm4brain(people, cohort[0] / "run", config)
    return cohort[0] / "run"


@pytest.fixture(scope="module")
def evaluated(run) -> str:
    """What the evaluation of the run on all grids prints; its files are in the run."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["evaluate", str(run), "--no-bert"]) == 0
    return said.getvalue()


def test_a_collection_of_one_grid_trains_as_its_store(cohort, config, tmp_path):
    one = write_collection(plan(cohort[1][:4]), tmp_path / "one")
    single = train_llm4brain(one.stores["sub-01"], tmp_path / "single", config)
    joint = train_llm4brain(one, tmp_path / "joint", config)
    assert isinstance(joint, GridModels)
    for name, wanted in single.state_dict().items():
        assert torch.equal(joint.part("sub-01").state_dict()[name], wanted), name


def test_training_resumes_bitwise(people, run, config, tmp_path):
    def stop(row):
        if (row["stage"], row["epoch"]) == ("stage1", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_llm4brain(people, tmp_path / "run", config, on_epoch=stop)
    train_llm4brain(people, tmp_path / "run", config, resume=True)
    weights = "model/model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (run / weights).read_bytes()


def test_a_run_of_each_grid_is_opened_and_scored(people, run):
    whole = load_grid_models(run / "model")
    facts = read_manifest(run, function="test")
    assert facts["grids"] == {n: store.fingerprint() for n, store in people.stores.items()}
    for name, member in people.stores.items():
        model, store, manifest = open_run(run / "grids" / name)
        assert store.fingerprint() == member.fingerprint()
        assert manifest["scored_trials"] == list(member.split.test)
        assert manifest["joint"] == {"run": "../..", "grid": name}
        batch = next(iter(WindowLoader(store, store.split.test, batch_size=4, shuffle=False)))
        wanted = whole.part(name).prefix(batch.voxels)
        assert torch.equal(model.prefix(batch.voxels), wanted)
        assert model.card.fingerprint == member.fingerprint()
    with pytest.raises(CheckpointError, match=r"must be of one grid.*grids/sub-01"):
        open_run(run)


def test_all_grids_are_evaluated_together(people, run, evaluated, capsys):
    assert "n = 20 windows in 2 runs, each scored by the model of its grid" in evaluated
    assert "| 01 | true brain |" in evaluated
    for name in people.stores:
        assert (run / "grids" / name / "report.html").is_file()
        text = (run / "grids" / name / "paper" / "methods.md").read_text()
        assert f"several voxel grids at once, of which {name} is one" in text
    scores = read_json(run / "scores.json")
    pairwise = {s["group"]: s for s in scores if s["metric"] == "pairwise"}
    assert set(pairwise) >= {"", "subject 01", "subject 02", "people", "run sub-01_run-04"}
    assert pairwise[""]["n"] == 20
    assert cli.main(["evaluate", str(run), "--name", "other"])
    assert "--name must be left out" in capsys.readouterr().err
    with pytest.raises(InputError, match="must be on several grids"):
        evaluate_grids(run / "grids" / "sub-01")
    with pytest.raises(CheckpointError, match="must be of one grid"):
        evaluate_run(run, bert=False)


@pytest.mark.slow
def test_the_card_has_the_scores_of_all_grids(run, evaluated, tmp_path, monkeypatch, capsys):
    hub_in(tmp_path, monkeypatch)
    assert cli.main(["push", str(run), "lab/people"]) == 0
    assert "not evaluated" not in capsys.readouterr().err
    pooled = {s["metric"]: s for s in read_json(run / "scores.json") if not s["group"]}
    assert f"{pooled['pairwise']['value']:.3f}" in (tmp_path / "README.md").read_text()


def test_decoded_by_the_grid_of_each_person(cohort, people, run):
    found = decode(run, confidence=False)
    assert [w.trial_id for w in found.windows] == list(people.split.test)
    again = decode(run, store=people.path, confidence=False)
    assert again.windows == found.windows
    scan = cohort[0] / "cohort" / "sub-02" / "run-4_bold.nii"
    events = scan.with_name("run-4_events.tsv")
    new = decode(run, scan, events=events, subject="02", confidence=False)
    own = [w.text for w in found.windows if w.subject == "02"]
    assert list(new.texts) == own
    with pytest.raises(InputError, match=r"one person with a grid.*got 03"):
        decode(run, scan, events=events, subject="03")
    with pytest.raises(InputError, match="must be a collection"):
        decode(run, store=people.stores["sub-01"].path)


@pytest.mark.slow
def test_runs_are_left_out_in_turn(cohort, config, tmp_path, monkeypatch):
    def light(run, evaluation, parts, facts):
        write_json(run / "metrics.json", evaluation.to_json())
        write_samples(run / "samples.parquet", evaluation)

    monkeypatch.setattr("fastbrain.llm4brain.evaluate.write_outputs", light)
    fast = replace(config, pretrain=None, calibrate=None, stage1=None)
    found = leave_out(
        partial(plan, cohort[1]), tmp_path / "folds", fast, by="run", folds=3, bert=False
    )
    assert next(s for s in found.scores if s.metric == "pairwise").n == 80
    assert (tmp_path / "folds" / "fold-00" / "run" / "grids" / "sub-02" / "metrics.json").is_file()
    again = leave_out(
        partial(plan, cohort[1]), tmp_path / "folds", fast, by="run", folds=3, bert=False
    )
    assert again.scores == found.scores


def test_people_on_grids_of_their_own_cannot_be_left_out(tmp_path, capsys):
    assert cli.main(["leave-out", "runs.tsv", str(tmp_path / "people"), "--native-grids"]) == 1
    assert "--by must be run, session or story with --native-grids" in capsys.readouterr().err


def test_dry_run_counts_the_weights_of_all_grids(people, tmp_path, capsys):
    cli.main(["train", str(people.path), str(tmp_path / "run"), "--dry-run", "--stimulus", "text"])
    said = capsys.readouterr().out
    assert "2 grids of 28 to 32 tokens" in said
    # a map to 64 tokens for each grid; norm and map across channels for both
    own = sum((1 + store.grid.n_tokens) * 64 + 64 for store in people.stores.values())
    dim, out = EncoderConfig().dim, VideoConfig().dim
    assert f"{own + 2 * dim + dim * out + out:,} parameters" in said


def test_refused(cohort, people, run, config, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"BrainLLM must have one grid.*--resample"):
        train_brainllm_run(people, out)
    table = replace(config.model.encoder, positions="table")
    with pytest.raises(ConfigError, match="positions must be 'brain'"):
        train_llm4brain(people, out, replace(config, model=replace(config.model, encoder=table)))
    with pytest.raises(ConfigError, match="leave a run of every grid to score, got none of sub-01"):
        train_llm4brain(people, out, replace(config, adapt_runs=1))
    own = config.with_encoder("lab:Mixer")
    with pytest.raises(ConfigError, match=r"train: encoder must be the built-in.*'lab:Mixer'"):
        train_llm4brain(people, out, own)
    with pytest.raises(ConfigError, match=r"leave_out: encoder must be the built-in"):
        leave_out(partial(plan, cohort[1]), out, own, by="run", folds=3)
    assert cli.main(["train", str(people.path), str(out), "--encoder", "lab:Mixer"])
    assert "train: encoder must be the built-in" in capsys.readouterr().err
    for folder in (run, run / "grids" / "sub-01"):
        with pytest.raises(CheckpointError, match="a new person would need weights"):
            adapt(folder, people.stores["sub-01"], out, subject="03", runs=1)
    assert cli.main(["train", str(people.path), str(out), "--dry-run", "--measure"])
    assert "--measure must be given one store" in capsys.readouterr().err
    for command in (["live", str(run), "--source", "x"], ["compare", str(run), str(run)]):
        assert cli.main(command)
        assert "a run on 2. Name that of a person: " in capsys.readouterr().err
    assert cli.main(["decode", str(run), "--bold", str(cohort[1][0].bold)])
    assert "got none in the names of the files. Name the person" in capsys.readouterr().err
    assert not out.exists()
