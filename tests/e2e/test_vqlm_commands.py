"""The commands on a run of vq-lm: evaluate, decode, compare, and what they refuse."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from fake_hub import hub_in

from fastbrain._run_kind import run_kind
from fastbrain.cli import main
from fastbrain.data import RestDesign, read_resting, resting_study, simulate_rest, write_resting
from fastbrain.errors import CheckpointError
from fastbrain.vqlm.run_records import open_study

pytestmark = pytest.mark.slow

SMALL = {
    "coder_epochs": 1,
    "steps": 4,
    "image_steps": 0,
    "encoder_steps": 0,
    "tune": {"name": "tune", "epochs": 1, "batch_size": 8},
}


def make(root: Path) -> Path:
    """Write two studies and a run on the first."""
    for name, seed in (("study", 0), ("others", 1)):
        design = RestDesign(people=20, regions=4, frames=80, seed=seed)
        write_resting(resting_study(simulate_rest(design)), root / name)
    (root / "config.json").write_text(json.dumps(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        train = ["train", "vq-lm", str(root / "study"), str(root / "run")]
        assert main([*train, "--config", str(root / "config.json")]) == 0
    return root


@pytest.fixture(scope="module")
def root(shared_by_workers):
    """Folder with two studies and a run, which tests copy before they change it."""
    root = shared_by_workers("vqlm-commands", make)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(root / "cache"))
        yield root


@pytest.fixture
def run(root, tmp_path) -> Path:
    shutil.copytree(root / "run", tmp_path / "run")
    return tmp_path / "run"


def test_evaluate_lists_every_test_person(root, run, capsys):
    (run / "report.html").unlink()
    assert main(["evaluate", str(run)]) == 0
    assert "connectivity ridge" in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    tests = json.loads((run / "split.json").read_text())["test"]
    ages = read_resting(root / "study").numbers("age")
    assert metrics["truth"] == {p: ages[p] for p in tests}
    told = (run / "subjects.md").read_text()
    assert all(f"| {p} | {ages[p]:.1f} |" in told for p in tests)
    assert "data:image/png" in (run / "report.html").read_text()
    assert {p.name for p in (run / "paper" / "figures").iterdir()} == {
        "predictions.svg",
        "predictions.pdf",
    }


def test_decode_predicts_as_evaluate_did(root, run, tmp_path):
    out = tmp_path / "ages.tsv"
    assert main(["decode", str(run), "--study", str(root / "study"), "--out", str(out)]) == 0
    with out.open() as file:
        rows = {r["participant_id"]: r for r in csv.DictReader(file, delimiter="\t")}
    metrics = json.loads((run / "metrics.json").read_text())
    for person, value in metrics["predicted"]["digits, calibrated"].items():
        assert rows[person]["part"] == "test"
        assert float(rows[person]["age"]) == pytest.approx(value, abs=0.01)
    # the study of training is not needed
    assert main(["decode", str(run), "--study", str(root / "others"), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 21


def test_a_pushed_run_decodes_elsewhere(root, tmp_path, monkeypatch):
    hub_in(tmp_path / "hub", monkeypatch)
    assert main(["push", str(root / "run"), "lab/codes"]) == 0
    sent = {p.relative_to(tmp_path / "hub").as_posix() for p in (tmp_path / "hub").rglob("*.*")}
    assert {"README.md", "coder/model.safetensors", "llm/model.safetensors", "answers.json"} <= sent
    assert {"words/words.safetensors", "words/config.json", "words/fastbrain.json"} <= sent
    assert not any(p.startswith(("tune/", "base/")) or "log" in p or "metrics" in p for p in sent)
    for path in (tmp_path / "hub").rglob("*.json"):
        assert str(root) not in path.read_text()
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "| mae, connectivity ridge |" in card
    for folder, out in ((root / "run", "here.tsv"), (tmp_path / "hub", "there.tsv")):
        study = ["--study", str(root / "others")]
        assert main(["decode", str(folder), *study, "--out", str(tmp_path / out)]) == 0
    assert (tmp_path / "here.tsv").read_text() == (tmp_path / "there.tsv").read_text()


def test_compare_pairs_by_person(run, root, tmp_path, capsys):
    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    for values in metrics["predicted"].values():
        for person in values:
            values[person] = metrics["truth"][person] + 1.0
    path.write_text(json.dumps(metrics))
    out = tmp_path / "found.json"
    assert main(["compare", str(root / "run"), str(run), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["n"] == len(metrics["truth"])
    by_metric = {d["metric"]: d for d in found["differences"]}
    assert by_metric["absolute error, head"]["value"] == pytest.approx(1.0)
    assert "absolute error, connectivity ridge" not in by_metric
    path.write_text(json.dumps({**metrics, "target": "iq"}))
    assert main(["compare", str(root / "run"), str(run)]) == 1
    assert "the same target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("decode {run}", "--study STUDY"),
        ("decode {run} --study {study} --every 3", "--every must be left out for a run of vq-lm"),
        ("evaluate {run} --derangements 200", "--derangements must be left out"),
        ("evaluate {run} --study {others}", "the study must hold the people of training"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(root, capsys, line, message):
    places = {"run": root / "run", "study": root / "study", "others": root / "others"}
    assert main(line.format(**places).split()) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_every_person_is_left_out_once(root, tmp_path, monkeypatch):
    line = ["leave-out", "vq-lm", str(root / "study"), str(tmp_path / "folds"), "--folds", "3"]
    line += ["--config", str(root / "config.json")]
    assert main(line) == 0
    tested = [
        person
        for k in range(3)
        for person in json.loads((tmp_path / f"folds/fold-{k:02d}/split.json").read_text())["test"]
    ]
    assert sorted(tested) == sorted(read_resting(root / "study").series)
    scores = json.loads((tmp_path / "folds" / "scores.json").read_text())
    assert {s["n"] for s in scores} == {20}
    # the error over all people is the mean of the errors of the folds' people
    (head,) = [s for s in scores if (s["group"], s["metric"]) == ("head", "mae")]
    errors = [
        abs(m["predicted"]["head"][p] - m["truth"][p])
        for k in range(3)
        for m in [json.loads((tmp_path / f"folds/fold-{k:02d}/metrics.json").read_text())]
        for p in m["truth"]
    ]
    assert head["value"] == pytest.approx(sum(errors) / 20)
    # finished folds are kept, and other settings refused
    monkeypatch.setattr("fastbrain.vqlm.cross_validation.train_vqlm", None)
    assert main(line) == 0
    assert main([*line, "--seed", "1"]) == 1


def test_adapting_is_refused_with_what_to_do(root, tmp_path, capsys):
    line = ["adapt", str(root / "run"), str(tmp_path), str(tmp_path / "new")]
    assert main([*line, "--subject", "01", "--runs", "1"]) == 1
    assert "train on people of the new site" in capsys.readouterr().err


def test_a_moved_study_is_found_beside_the_run_or_by_name(root, tmp_path):
    shutil.copytree(root / "run", tmp_path / "run")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({**manifest, "study": "/nowhere"}))
    with pytest.raises(CheckpointError, match="nowhere"):
        open_study(tmp_path / "run", function="test")
    assert open_study(tmp_path / "run", root / "study", function="test").tr == 2.0
    shutil.copytree(root / "study", tmp_path / "study")
    assert open_study(tmp_path / "run", function="test").path.resolve() == tmp_path / "study"


def test_runs_without_a_manifest_are_known(root, run):
    assert run_kind(run, function="test") == "vq-lm"
    (run / "manifest.json").unlink()
    assert run_kind(run, function="test") == "vq-lm"
    shutil.rmtree(run / "llm")
    with pytest.raises(CheckpointError, match="train vq-lm --resume goes on"):
        run_kind(run, function="test")
