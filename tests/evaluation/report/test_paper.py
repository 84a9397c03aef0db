"""The material for a paper: figures at print size, methods, references and tables."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from known import made

import fastbrain
from fastbrain._io import write_json
from fastbrain.data import Denoising
from fastbrain.data.readers.tables import read_tsv
from fastbrain.decoding import Sampling
from fastbrain.errors import CheckpointError, DiskError
from fastbrain.evaluation import ReportParts, evaluate_text
from fastbrain.evaluation.analyses.surprise import SurpriseBin
from fastbrain.evaluation.report import citations, figures
from fastbrain.evaluation.report.methods import methods_text
from fastbrain.evaluation.report.paper import FIGURES, TEXTS, write_paper
from fastbrain.evaluation.report.print_style import DOUBLE_MM, SINGLE_MM, saved
from fastbrain.evaluation.report.run_facts import Recipe, RunFacts
from fastbrain.evaluation.scores import Score
from fastbrain.grid import TokenGrid
from fastbrain.layout import TokenLayout
from fastbrain.llm4brain import evaluate_run, open_run
from fastbrain.llm4brain.methods import recipe_of
from fastbrain.llm4brain.training import RunConfig, preset
from fastbrain.stats.inference import Interval

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


@pytest.fixture
def facts(store) -> RunFacts:
    manifest = {"llm": "some/model", "scored_trials": list(store.split.test)}
    return RunFacts(store, manifest, Recipe("LLM4Brain [@zheng2024llm4brain]"))


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_text(*made(["a b"] * 24, 1.0 - np.eye(24)), bert=False)


def test_all_files_are_there(paper):
    drawn = {
        "controls",
        "identification",
        "brain",
        "training",
    }  # few samples for surprise, one test subject
    names = {f"figures/{name}.{kind}" for name in drawn for kind in ("svg", "pdf")}
    found = {str(p.relative_to(paper)) for p in paper.rglob("*") if p.is_file()}
    assert found - {"figures/surprise.svg", "figures/surprise.pdf"} == names | set(TEXTS)


def test_svgs_have_the_width_of_columns_and_text(paper):
    for path in (paper / "figures").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        width = float(root.attrib["width"].removesuffix("pt")) * _POINT_MM
        assert min(abs(width - SINGLE_MM), abs(width - DOUBLE_MM)) < _ROUNDING_MM
        assert list(root.iter("{http://www.w3.org/2000/svg}text"))
        assert b"date" not in path.read_bytes()


def test_pdfs_have_the_width_of_columns_and_true_type_fonts(paper):
    for path in (paper / "figures").glob("*.pdf"):
        data = path.read_bytes()
        assert data.startswith(b"%PDF")
        box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
        width = float(box[1]) * _POINT_MM
        assert min(abs(width - SINGLE_MM), abs(width - DOUBLE_MM)) < _ROUNDING_MM
        assert b"/CreationDate" not in data
        assert b"/ModDate" not in data
        assert b"/Subtype /Type3" not in data
        assert b"CIDFontType2" in data


def test_the_bibliography_is_what_the_text_cites(paper):
    text, bib = (paper / "methods.md").read_text(), (paper / "references.bib").read_text()
    keys = re.findall(r"^@\w+\{(\S+),$", bib, re.MULTILINE)
    assert keys == citations.cited_keys(text)
    assert {"zheng2024llm4brain", "fastbrain", "prichard1994surrogate"} <= set(keys)
    assert "ye2025brainllm" in keys  # of pairwise accuracy
    assert "saito2020dance" not in keys  # nothing was adapted
    assert "zhang2020bertscore" not in keys  # bert=False


def test_every_entry_is_well_formed_and_used():
    known = citations.entries()
    root = Path(fastbrain.__file__).parent
    sources = [*root.rglob("report/*.py"), *root.rglob("methods.py")]
    cited = {key for path in sources for key in citations.cited_keys(path.read_text())}
    spelled = {"abraham2014nilearn", *re.findall(r'"(\w+20\d\d\w+)"', _software_source(root))}
    assert (cited | spelled) - set(known) <= {"key", "one", "two"}  # of docstrings
    assert set(known) <= cited | spelled
    for key, entry in known.items():
        assert entry.count("{") == entry.count("}"), key
        assert "author = {" in entry, key
        assert "title = {" in entry, key
        doi = re.search(r"doi = \{(.*)\}", entry)
        assert doi is None or re.fullmatch(r"10\.\d{4,5}/\S+", doi[1]), key


def _software_source(root: Path) -> str:
    return (root / "evaluation" / "report" / "methods.py").read_text()


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


@pytest.mark.parametrize("trained", [True, False])
def test_only_a_run_with_stage_one_has_targets_of_it(finished_run, store, trained):
    model, _, manifest = open_run(finished_run, store=store.path)
    config = RunConfig(stimulus="text").to_dict()
    known = config if trained else {**config, "stage1": None}
    said = " ".join(recipe_of(model, manifest, known).model)
    assert ("The targets of stage I" in said) == trained


def test_unknown_facts_leave_no_sentence(facts, evaluation):
    text = methods_text(facts, evaluation)
    for word in (
        "trained",
        "far from",
        "audit",
        "parameters",
        "generated greedily",
        "ran on",
        "preset",
    ):
        assert word not in text
    assert "The language model was model." in text


def test_methods_state_smoothing_and_resampling(facts, evaluation):
    text = methods_text(facts, evaluation)
    assert "smoothed" not in text
    assert "resampled" not in text
    info = replace(facts.store.info, smoothing_mm=5.0, resampled="mni:2")
    changed = replace(facts, store=replace(facts.store, info=info))
    text = methods_text(changed, evaluation)
    assert "smoothed with a Gaussian of 5 mm full width at half maximum." in text
    assert "resampled to a common voxel grid by linear interpolation" in text


def test_methods_of_betas(facts, evaluation):
    info = replace(facts.store.info, beta_divisor=300.0, units="zscore")
    text = methods_text(replace(facts, store=replace(facts.store, info=info)), evaluation)
    assert "A sample was the beta of one trial." in text
    assert "standardised over the trials of each file" in text
    for word in ("repetition time", "linear trend", "after the onset"):
        assert word not in text


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ({"language_model": {"revision": "0123456789abcdef"}}, "model at revision 0123456789ab."),
        ({"adapt_trials": ["a", "b"]}, "[@saito2020dance] read 2 windows of the test participants"),
        (
            {"adapted": {"subject": "09", "runs": ["r1", "r2"]}},
            "fitted to participant 09 on the labelled windows of 2 runs",
        ),
        (
            {
                "audit": {
                    "clean": False,
                    "allowed": "a pilot",
                    "findings": [{"means": "the same text"}],
                    "guard_trs": 4,
                    "unchecked": ["story", "family"],
                }
            },
            "relatives found: the same text (accepted because: a pilot); windows of different "
            "parts are at least 4 volumes apart. No sample states its story or family.",
        ),
    ],
)  # fmt: skip
def test_what_a_manifest_says_is_said(facts, evaluation, manifest, sentence):
    known = replace(facts, manifest={**facts.manifest, **manifest})
    assert sentence in methods_text(known, evaluation)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "beam", "beams": 4}, "by beam search with 4 beams, with at most 32 tokens."),
        (
            {"method": "sample", "temperature": 0.7, "top_p": 0.9, "seed": 5},
            "by sampling at temperature 0.7, seed 5, from the nucleus of 0.9 "
            "[@holtzman2020nucleus], with at most 32 tokens.",
        ),
        ({"repetition_penalty": 1.2}, "greedily, with repetition penalty 1.2, with at most"),
    ],
)  # fmt: skip
def test_how_texts_were_generated(facts, evaluation, options, sentence):
    from dataclasses import asdict

    known = replace(evaluation, facts={"sampling": asdict(Sampling(**options))})
    assert sentence in methods_text(facts, known)


def test_a_line_alone_and_z_scores(facts, evaluation, store):
    drift = replace(store.filter, high_pass_s=None, asked=None)
    names = (
        "info",
        "trials",
        "split",
        "by_id",
        "grid",
        "window_spec",
        "tr",
        "fit_runs",
        "denoising",
    )
    view = SimpleNamespace(filter=drift, units="zscore", **{n: getattr(store, n) for n in names})
    text = methods_text(replace(facts, store=view), evaluation)
    assert "From every voxel of a run its mean and a linear trend were removed. This filter" in text
    assert "Values were divided by each voxel's standard deviation in the run." in text


def test_denoising_is_described(facts, evaluation, store):
    strategy = Denoising.parse(["scrubbing", "compcor"])
    drift = replace(store.filter, with_confounds={"walk": 0.31, "sing": 0.2}, noise=0.16)
    runs = {k: {**v, "censored": [0, 1]} for k, v in store.info.runs.items()}
    info = replace(store.info, runs=runs, excluded={"sub-09_run-01": "motion"})
    view = replace(store, info=replace(info, denoising=strategy.to_json(), filter=drift.to_json()))
    text = methods_text(replace(facts, store=view), evaluation)
    assert "fitted to each run, head motion (6 parameters, temporal derivatives" in text
    assert "[@lindquist2019modular]" in text
    assert "remove at most 31.0% of that variance (walk); as many confounds remove 16.0%" in text
    assert "1 run of the cohort was left out" in text
    assert f"{2 * len(runs)} volumes of" in text
    assert "lindquist2019modular" in citations.bibliography(text)


def people(count: int) -> list[Score]:
    interval = Interval(0.4, 0.8)
    groups = [*(f"subject a-long-label-{i:02d}" for i in range(count)), "people"]
    return [
        Score("pairwise", "teacher-forced", 0.6, 9, 0.5, "deranged brain", 0.1, interval, group=g)
        for g in groups
    ]


def _figures():
    score = people(1)[0]
    grid = TokenGrid.from_mask(np.ones((5, 6, 7), dtype=bool), (2, 3, 3))
    names = ("phase-randomised brain", "nearest training text")
    rows = [
        replace(score, metric=metric, mode="free-running", control=control, group="")
        for metric in ("bleu1", "rougeL_f", "wer", "bertscore_f")
        for control in names
    ]
    history = {
        f"stage{i}": [{"epoch": e, "a_long_name_loss": 1 / e, "val_loss": None} for e in (1, 2)]
        for i in range(5)
    }
    squares = TokenLayout(
        np.arange(8, dtype=np.int64).reshape(4, 2),
        np.array([[-9.0, 0, 0], [-9, 9, 0], [9, 0, 0], [9, 9, 0]]),
        locations=8,
        geometry="surface",
        names=["CORTEX_LEFT"] * 2 + ["CORTEX_RIGHT"] * 2,
        positions="flat",
    )
    return {
        "forest": lambda: figures.forest(rows),
        "one panel": lambda: figures.forest(rows[:2]),
        "subjects": lambda: figures.subjects(people(3)),
        "surprise": lambda: figures.surprise_curve(
            [SurpriseBin(i, i + 1, replace(score, group="")) for i in range(3)]
        ),
        "projections": lambda: figures.brain(grid, np.linspace(0, 1, grid.n_tokens), None),
        "flat maps": lambda: figures.brain(squares, np.linspace(0, 1, 4), None),
        "curves": lambda: figures.curves(history),
        "one stage": lambda: figures.curves({"tune": history["stage0"]}),
    }


@pytest.mark.parametrize("name", _figures())
def test_no_label_is_clipped(name):
    figure = _figures()[name]()
    saved(figure, "pdf")  # lays it out
    width, height = figure.get_size_inches()
    box = figure.get_tightbbox()
    assert round(width * 25.4) in (SINGLE_MM, DOUBLE_MM)
    slack = 0.02  # inches; lines may end on the border
    assert box.x0 >= -slack
    assert box.y0 >= -slack
    assert box.x1 <= width + slack
    assert box.y1 <= height + slack


def test_held_windows_are_counted(facts, evaluation):
    text = methods_text(replace(facts, held=3), evaluation)
    assert "3 test samples far from all training samples (by mean, spread, zeros" in text


def test_one_person_needs_no_picture():
    assert figures.subjects(people(1)) is None
    assert figures.curves({}) is None


def test_figures_without_content_are_left_out(facts, evaluation, tmp_path):
    folder = write_paper(tmp_path, evaluation, ReportParts(), facts, dict.fromkeys(FIGURES))
    assert not (folder / "figures").exists()
    assert "# Figures" not in (folder / "methods.md").read_text()
    assert (folder / "quality.tsv").read_text() == ""
