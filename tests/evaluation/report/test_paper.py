"""The material for a paper that an evaluation writes: figures, methods, references and tables."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from fastbrain._io import write_json
from fastbrain.data.readers.tables import read_tsv
from fastbrain.decoding import Sampling
from fastbrain.errors import CheckpointError, DiskError
from fastbrain.evaluation.report import citations
from fastbrain.evaluation.report.paper import TEXTS
from fastbrain.evaluation.report.print_style import DOUBLE_MM, SINGLE_MM
from fastbrain.llm4brain import evaluate_run
from fastbrain.llm4brain.training import RunConfig, preset

matplotlib = pytest.importorskip("matplotlib")

_POINT_MM = 25.4 / 72
_ROUNDING_MM = 0.01  # files hold points with three to six digits
SAMPLING = Sampling(max_new_tokens=6)


@pytest.fixture(scope="module")
def run(finished_run, tmp_path_factory):
    """An evaluated run with all records of training."""
    run = tmp_path_factory.mktemp("paper") / "run"
    shutil.copytree(finished_run, run)
    config = RunConfig(stimulus="text", seed=3)
    write_json(run / "config.json", {"config": config.to_dict()})
    stage = {"config": preset("stage1").to_dict(), "versions": {"torch": "2.9.9"}}
    write_json(run / "stages" / "stage1" / "config.json", stage)
    return run


@pytest.fixture(scope="module")
def result(run, store):
    return evaluate_run(run, store=store.path, sampling=SAMPLING, bert=False)


@pytest.fixture
def paper(run, result) -> Path:
    return run / "paper"


def test_all_files_are_there(paper):
    drawn = {"controls", "identification", "surprise", "brain", "training"}  # one test subject
    names = {f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "pdf")}
    found = {str(p.relative_to(paper)) for p in paper.rglob("*") if p.is_file()}
    assert found == names | set(TEXTS)


def test_svgs_have_the_width_of_columns_and_text(paper):
    paths = list((paper / "figures").glob("*.svg"))
    assert paths
    for path in paths:
        root = ElementTree.parse(path).getroot()
        width = float(root.attrib["width"].removesuffix("pt")) * _POINT_MM
        assert min(abs(width - SINGLE_MM), abs(width - DOUBLE_MM)) < _ROUNDING_MM
        assert list(root.iter("{http://www.w3.org/2000/svg}text"))
        assert b"date" not in path.read_bytes()


def test_pdfs_have_the_width_of_columns_and_true_type_fonts(paper):
    paths = list((paper / "figures").glob("*.pdf"))
    assert paths
    for path in paths:
        data = path.read_bytes()
        assert data.startswith(b"%PDF")
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
        width = float(box[1]) * _POINT_MM
        assert min(abs(width - SINGLE_MM), abs(width - DOUBLE_MM)) < _ROUNDING_MM
        assert b"/CreationDate" not in data
        assert b"/ModDate" not in data
        assert b"/Subtype /Type3" not in data
        assert b"CIDFontType2" in data


@pytest.mark.slow
def test_the_bibliography_is_what_the_text_cites(paper):
    text, bib = (paper / "methods.md").read_text(), (paper / "references.bib").read_text()
    keys = re.findall(r"^@\w+\{(\S+),$", bib, re.MULTILINE)
    assert keys == citations.cited_keys(text)
    assert {"zheng2024llm4brain", "fastbrain", "prichard1994surrogate"} <= set(keys)
    assert "ye2025brainllm" in keys  # of pairwise accuracy
    assert "saito2020dance" not in keys  # nothing was adapted
    assert "zhang2020bertscore" not in keys  # bert=False


def test_methods_state_the_numbers_of_the_run(paper, store, result):
    text = (paper / "methods.md").read_text()
    split = store.split
    runs, volumes = len(store.info.runs), sum(r["n_volumes"] for r in store.info.runs.values())
    for sentence in (
        f"Functional MRI of 2 participants ({runs} runs, {volumes} volumes, repetition time 2 s)",
        f"The brain mask held {int(store.grid.mask.sum())} voxels",
        f"from the {len(store.fit_runs)} training runs alone",
        "A sample was a window of 4 volumes (8 s) from 4 s after",
        f"There were {len(split.train)} training, {len(split.val)} validation and "
        f"{len(split.test)} test samples, the latter of 1 participant.",
        "share no participant or stimulus with",
        f"cut into {store.grid.n_tokens} tokens of 3×3×2 voxels",
        "1 block of width 16) and a query transformer ([@li2023blip2]; 1 block of width 16)",
        "into 6 embeddings",
        "rank 4 beside the query transformer started as a ridge regression on 12 training windows "
        "(cross-validated R² 0.100)",
        "The targets of stage I came from word embeddings of the texts.",
        f"(stage I) (2 epochs, batches of {preset('stage1').batch_size}, learning rate "
        f"{preset('stage1').optim.lr:g}, weight decay {preset('stage1').optim.weight_decay:g})",
        "Texts were generated greedily, with at most 6 tokens.",
        f"{len(result.samples)} samples were scored.",
        f"for {len(result.conditions.partners)} derangements",
        f"All {sum(s.p is not None for s in result.scores)} tests form one family",
        "Training used PyTorch 2.9.9.",
    ):
        assert sentence in text
    assert result.score("bleu1").signature in text
    assert "None" not in text
    assert "nan" not in text


def test_scores_are_those_of_metrics_json(run, paper):
    scores = json.loads((run / "metrics.json").read_text())["scores"]
    _, rows = read_tsv(paper / "scores.tsv")
    assert len(rows) == len(scores)
    for row, score in zip(rows, scores, strict=True):
        for column, key in {"value": "value", "control_value": "chance", "p": "p"}.items():
            cell = row[column]
            value = None if cell == "n/a" else float(cell)
            assert value == (None if score[key] is None else pytest.approx(score[key], rel=1e-5))
        interval = score["interval"]
        low = "n/a" if interval is None else f"{interval['low']:.6g}"
        assert row["low"] == low
        assert row["signature"] == (score["signature"] or "n/a")


def test_quality_and_design_are_those_of_the_store(paper, store):
    _, rows = read_tsv(paper / "quality.tsv")
    assert {row["run"]: int(row["volumes"]) for row in rows} == {
        name: facts["n_volumes"] for name, facts in store.info.runs.items()
    }
    _, rows = read_tsv(paper / "design.tsv")
    shares = {row["name"]: float(row["removed_share"]) for row in rows}
    removed = store.info.filter["removed"]
    assert removed.items() <= shares.items()
    assert {row["high_pass_s"] for row in rows} == {f"{store.info.high_pass_s:g}"}


@pytest.mark.slow
def test_equal_results_have_equal_bytes_and_stale_figures_go(run, result, paper, store):
    before = {path: path.read_bytes() for path in sorted(paper.rglob("*")) if path.is_file()}
    (paper / "figures" / "subjects.pdf").write_bytes(b"of an earlier evaluation")
    (paper / "notes.txt").write_text("of the user")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": True}):
        evaluate_run(run, store=store.path, sampling=SAMPLING, bert=False)
        assert matplotlib.rcParams["font.size"] == 30
    assert not (paper / "figures" / "subjects.pdf").exists()
    assert (paper / "notes.txt").read_text() == "of the user"
    (paper / "notes.txt").unlink()
    after = {path: path.read_bytes() for path in sorted(paper.rglob("*")) if path.is_file()}
    assert after == before


@pytest.mark.parametrize("name", ["paper", "paper/figures", "paper/methods.md"])
def test_what_is_in_the_way_is_refused_before_the_work(finished_run, store, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    if name.endswith(".md"):
        (run / name).mkdir(parents=True)
    else:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("a file")
    with pytest.raises(DiskError, match=name):
        evaluate_run(run, store=store.path, bert=False)
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize("name", ["config.json", "stages/stage1/config.json"])
def test_a_damaged_record_is_refused_before_the_work(finished_run, store, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / name).write_text('{"config": 3}')
    with pytest.raises(CheckpointError, match="must have 'config'"):
        evaluate_run(run, store=store.path, bert=False)
    assert not (run / "metrics.json").exists()
