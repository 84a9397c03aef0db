"""From NIfTI files to scored sentences on a tiny simulated cohort: the library path, end to end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from events import check_events
from safetensors.torch import save_file

from fastbrain.cli import main
from fastbrain.data import (
    CohortDesign,
    FitScope,
    Split,
    VoxelStore,
    WindowSpec,
    prepare_store,
    read_runs_table,
    simulate_cohort,
    split_unseen,
)
from fastbrain.data.simulate.captions import QUESTION
from fastbrain.errors import CheckpointError, ConfigError, InputError, LeakError, OutputExistsError
from fastbrain.evaluation import Score, read_samples
from fastbrain.llm4brain import EncoderConfig, LLM4BrainConfig, QFormerConfig, VideoConfig
from fastbrain.llm4brain.evaluate import evaluate_model, evaluate_run, open_run
from fastbrain.llm4brain.training import (
    ReadoutFit,
    RunConfig,
    preset,
    split_target,
    train_llm4brain,
)
from fastbrain.llm4brain.training.pipeline import notes_on
from fastbrain.training import OptimConfig

pytest.importorskip("nilearn")

pytestmark = pytest.mark.slow
DESIGN = CohortDesign(subjects=3, runs=3, trials=8, resolution_mm=8, snr=2.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("e2e")
    runs = read_runs_table(simulate_cohort(root / "cohort", DESIGN))
    return prepare_store(
        runs,
        root / "store",
        window=WindowSpec(4.0, 2),
        kernel=(4, 4, 4),
        split=lambda trials: split_unseen(trials, test_subjects=["03"], val_fraction=0.3),
    )


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def recipe(**options) -> RunConfig:
    fast = {"epochs": 1, "batch_size": 8, "optim": OptimConfig(lr=1e-3)}
    return RunConfig(
        prompts=(QUESTION,),
        model=LLM4BrainConfig(
            encoder=EncoderConfig(dim=24, depth=1),
            qformer=QFormerConfig(dim=24, depth=1, n_queries=8),
            video=VideoConfig(frames=2, size=16, dim=24, depth=1),
        ),
        pretrain=replace(preset("pretrain"), **fast),
        video=replace(preset("video"), **fast),
        stage1=replace(preset("stage1"), **fast),
        stage2=replace(preset("stage2"), **fast),
        **{"adapt_runs": 1, **options},
    )


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    train_llm4brain(store, out, recipe(), log=["tensorboard"])
    return out


def test_tensorboard_has_the_logs_of_all_stages(run):
    check_events(run)


def test_files_of_a_run(run, store):
    assert {p.name for p in run.iterdir()} >= {"config.json", "manifest.json", "model", "stages"}
    assert {p.name for p in (run / "stages").iterdir()} == {"pretrain", "video", "stage1", "stage2"}
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["adaptation"] == "transductive"
    assert manifest["store_fingerprint"] == store.fingerprint()
    runs = {
        kind: {t.rsplit("_", 1)[0] for t in manifest[kind]}
        for kind in ("adapt_trials", "scored_trials")
    }
    assert runs["adapt_trials"] & runs["scored_trials"] == set()
    assert set(manifest["scored_trials"]) < set(store.split.test)
    assert manifest["readout"]["windows"] == len(store.split.train)
    assert Split.from_json(manifest["split"]) == store.split
    assert manifest["audit"]["clean"]
    assert manifest["audit"]["allowed"] is None
    assert manifest["audit"]["samples"]["adapt"] == len(manifest["adapt_trials"])
    fitted = len(store.split.train)
    assert manifest["audit"]["fits"] == {
        "voxel mean and standard deviation": fitted,
        "memory of the adaptation": len(manifest["adapt_trials"]),
        "language model": fitted,
        "readout": fitted,
    }


def test_a_leak_stops_training_unless_there_is_a_reason(run, store, tmp_path):
    prompt = f"is it {store.by_id[store.split.test[-1]].text} ?"
    # the language model of the other run: one of this prompt would be trained for it alone
    leaking = replace(
        recipe(llm=str(run / "llm")),
        prompts=(prompt,), stimulus="text", pretrain=None, video=None, stage1=None,
    )  # fmt: skip
    out = tmp_path / "run"
    with pytest.raises(LeakError, match="a prompt that holds the text to decode in train and test"):
        train_llm4brain(store, out, leaking)
    assert not out.exists()
    train_llm4brain(store, out, leaking, allow_leak="a test")
    first = (out / "manifest.json").read_text()
    audit = json.loads(first)["audit"]
    assert (audit["clean"], audit["allowed"]) == (False, "a test")
    assert [leak["kind"] for leak in audit["findings"]] == ["prompt"]
    # a resumed run remembers why it may go on
    (out / "manifest.json").unlink()
    train_llm4brain(store, out, leaking, resume=True)
    assert (out / "manifest.json").read_text() == first


def test_what_is_fitted_is_audited(store, tmp_path, monkeypatch):
    scope = FitScope("readout", store.split.test)
    monkeypatch.setattr(ReadoutFit, "scope", scope)
    with pytest.raises(LeakError, match="fitted outside the training part"):
        train_llm4brain(store, tmp_path / "run", recipe())


def test_evaluation_writes_metrics_samples_and_report(run):
    pytest.importorskip("matplotlib")
    result = evaluate_run(run, bert=False)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["n"] == len(result.samples) == 16
    assert metrics["partners_exclude"] == ["run_id"]
    assert metrics["audit"]["clean"]
    assert Split.from_json(metrics["split"]).test
    assert tuple(Score.from_json(row) for row in metrics["scores"]) == result.scores
    assert set(metrics["controls"]) >= {"deranged brain", "phase-randomised brain", "zero brain"}
    assert len(read_samples(run / "samples.parquet")["decoded"]) == 16
    html = (run / "report.html").read_text()
    assert "data:image/png;base64," in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert len(html) < 5_000_000
    again = evaluate_run(run, bert=False)
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert again.samples == result.samples


def test_runs_are_compared_on_shared_samples(run, tmp_path, capsys):
    evaluate_run(run, bert=False)
    other = tmp_path / "other"
    shutil.copytree(run, other)
    assert main(["compare", str(run), str(other), "--out", str(tmp_path / "c.json")]) == 0
    shown = capsys.readouterr().out
    assert "16 shared samples in" in shown
    found = json.loads((tmp_path / "c.json").read_text())
    assert all(d["value"] == d["first"] and d["p"] == 1.0 for d in found["differences"])
    assert main(["compare", str(run)]) == 1


def test_a_resumed_run_ends_in_the_same_model(run, store, tmp_path):
    out = tmp_path / "run"
    train_llm4brain(store, out, recipe())
    (out / "manifest.json").unlink()
    with pytest.raises(OutputExistsError):
        train_llm4brain(store, out, recipe())
    train_llm4brain(store, out, recipe(), resume=True)
    one, other = (p / "model" / "model.safetensors" for p in (run, out))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(CheckpointError, match="configuration"):
        train_llm4brain(store, out, recipe(seed=1), resume=True)


def test_training_trials_are_never_scored(run, store):
    model, _, _ = open_run(run)
    with pytest.raises(InputError, match="test part"):
        evaluate_model(model, store, store.split.train[:4])


def test_another_store_under_the_same_run_is_refused(run, store, tmp_path):
    manifest = json.loads((run / "manifest.json").read_text())
    other = tmp_path / "run"
    other.mkdir()
    (other / "manifest.json").write_text(json.dumps(manifest | {"store_fingerprint": "other"}))
    with pytest.raises(CheckpointError, match="must be the one of training"):
        open_run(other)
    (other / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="finished"):
        open_run(other)


def test_all_test_runs_cannot_go_to_adaptation(store):
    assert split_target(store, 0) == ((), store.split.test)
    with pytest.raises(ConfigError, match="leave a run"):
        split_target(store, 3)


def test_texts_can_be_the_stimulus(store, tmp_path):
    model = train_llm4brain(
        store,
        tmp_path / "run",
        replace(
            recipe(adapt_runs=0),
            stimulus="text",
            pretrain=None,
            video=None,
            calibrate=replace(preset("calibrate"), epochs=2, batch_size=8),
        ),
    )
    assert (tmp_path / "run" / "stages" / "calibrate" / "log.jsonl").is_file()
    assert model.projection.weight.shape == (64, 24)


def test_a_published_video_branch_and_a_frozen_vision_model(run, store, tmp_path, monkeypatch):
    """A vision model sees every clip once; a Q-Former arrives trained; both stand in the record."""
    from transformers import Blip2QFormerConfig, Blip2QFormerModel, ViTConfig, ViTModel

    from fastbrain._io import sha256

    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "cache"))
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    vit = ViTModel(ViTConfig(**sizes, hidden_size=12, image_size=16, patch_size=8))
    vit.save_pretrained(tmp_path / "vit")
    blip = Blip2QFormerConfig(
        **sizes, vocab_size=9, hidden_size=24, encoder_hidden_size=12, cross_attention_frequency=1
    )
    weights = {f"qformer.{k}": v.clone() for k, v in Blip2QFormerModel(blip).state_dict().items()}
    save_file(weights, tmp_path / "qformer.safetensors")
    config = recipe(adapt_runs=0, llm=str(run / "llm"))
    qformer = replace(
        config.model.qformer, depth=1, heads=2, mlp_ratio=1.0, bert=True, cross_every=1
    )
    config = replace(
        config,
        model=replace(config.model, qformer=qformer),
        pretrain=None,
        stage2=None,
        vision_model=str(tmp_path / "vit"),
        qformer_weights=str(tmp_path / "qformer.safetensors"),
    )
    looks = []
    real = ViTModel.forward
    monkeypatch.setattr(ViTModel, "forward", lambda *a, **k: (looks.append(1), real(*a, **k))[1])
    model = train_llm4brain(store, tmp_path / "run", config)
    shown = {store.clip(t) for t in (*store.split.train, *store.split.val)}
    assert len(looks) == len(shown)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["qformer_weights"]["sha256"] == sha256(tmp_path / "qformer.safetensors")
    assert manifest["qformer_weights"]["fresh"] == ["queries", "projection", "frame_place"]
    assert manifest["vision_model"]["digest"] == model.video.digest()
    # where frames stand was learned, the vision model was not
    assert model.frame_place.abs().sum() > 0
    seeing = zip(vit.parameters(), model.video.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in seeing)
    # the same clips, a branch that arrives trained: nothing is seen again
    train_llm4brain(store, tmp_path / "second", replace(config, video=None))
    assert len(looks) == len(shown)
    assert not (tmp_path / "second" / "stages" / "video").exists()
    assert open_run(tmp_path / "second")[0].external_video
    with pytest.raises(ConfigError, match="layout of BERT"):
        replace(config, model=recipe().model)


def test_commands_do_the_same(run, store, tmp_path, capsys):
    cohort = str(store.path.parent / "cohort" / "runs.tsv")
    made = str(tmp_path / "store")
    options = ["--kernel", "4", "4", "4", "--window", "2", "--test-subjects", "03"]
    assert main(["prepare", cohort, made, *options, "--val-fraction", "0.3", "--dry-run"]) == 0
    assert not (tmp_path / "store").exists()
    assert main(["prepare", cohort, made, *options, "--val-fraction", "0.3"]) == 0
    assert VoxelStore.open(made).fingerprint() == store.fingerprint()
    assert main(["prepare", cohort, made, *options]) == 1
    assert "--resume" in capsys.readouterr().err
    settings = tmp_path / "config.json"
    settings.write_text(json.dumps(recipe().to_dict()))
    out = str(tmp_path / "run")
    assert main(["train", made, out, "--config", str(settings), "--dry-run"]) == 0
    assert main(["train", made, out, "--config", str(settings)]) == 0
    one, other = (Path(p) / "model" / "model.safetensors" for p in (run, out))
    assert one.read_bytes() == other.read_bytes()
    assert main(["evaluate", out, "--no-bert"]) == 0
    assert "pairwise accuracy" in capsys.readouterr().out
    assert main(["decode", out, "--out", str(tmp_path / "text.tsv")]) == 0
    lines = (tmp_path / "text.tsv").read_text().splitlines()
    assert len(lines) == 1 + len(store.split.test)
    text = store.by_id[store.split.test[-1]].text
    settings.write_text(json.dumps(recipe().to_dict() | {"prompts": [text]}))
    leaking = ["train", made, str(tmp_path / "leak"), "--config", str(settings), "--dry-run"]
    assert main(leaking) == 1
    assert "a prompt that holds the text" in capsys.readouterr().err
    assert main([*leaking, "--allow-leak", "only a dry run"]) == 0
    # the paper's preset needs a real language model; a dry run tells its sizes without building it
    paper = ["train", made, str(tmp_path / "paper"), "--preset", "paper", "--dry-run"]
    assert main(paper) == 1
    told = capsys.readouterr().err
    assert "--preset paper --llm " in told
    assert "--preset paper-small" in told
    assert main([*paper, "--llm", str(run / "llm"), "--adapt-runs", "0.5"]) == 0
    shown = capsys.readouterr()
    for part in ("shapes ", "  encoder ", "memory  ", "time  ", "1024", "audit"):
        assert part in shown.out
    assert "pretrained on the training windows alone" in shown.err
    assert not (tmp_path / "paper").exists()
    # a temperature at which no entropy can fall is told before hours are spent
    hot = replace(preset("stage2").losses, tau_cls=0.5, rho=0.01, margin=0.0)
    warned = replace(recipe(), stage2=replace(preset("stage2"), losses=hot))
    settings.write_text(json.dumps(warned.to_dict()))
    capsys.readouterr()
    assert main(["train", made, str(tmp_path / "hot"), "--config", str(settings), "--dry-run"]) == 0
    told = "entropy separation only flattens all samples"
    assert told in capsys.readouterr().err
    assert notes_on(store, replace(warned, adapt_runs=0)) == ()
    assert told in notes_on(store, warned)[0]
    settings.write_text(json.dumps({"sede": 1}))
    assert main(["train", made, str(tmp_path / "x"), "--config", str(settings)]) == 1
    assert "seed" in capsys.readouterr().err
