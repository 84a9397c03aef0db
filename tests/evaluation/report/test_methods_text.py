"""The text on methods: what is known of a run and its store, and nothing else."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from known import made

import fastbrain
from fastbrain.data import Denoising
from fastbrain.decoding import Sampling
from fastbrain.evaluation import ReportParts, evaluate_text
from fastbrain.evaluation.report import citations
from fastbrain.evaluation.report.methods import methods_text
from fastbrain.evaluation.report.paper import FIGURES, write_paper
from fastbrain.evaluation.report.run_facts import Recipe, RunFacts
from fastbrain.llm4brain import open_run
from fastbrain.llm4brain.methods import recipe_of
from fastbrain.llm4brain.training import RunConfig


@pytest.fixture
def facts(store) -> RunFacts:
    manifest = {"llm": "some/model", "scored_trials": list(store.split.test)}
    return RunFacts(store, manifest, Recipe("LLM4Brain [@zheng2024llm4brain]"))


@pytest.fixture(scope="module")
def evaluation():
    return evaluate_text(*made(["a b"] * 24, 1.0 - np.eye(24)), bert=False)


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


def test_held_windows_are_counted(facts, evaluation):
    text = methods_text(replace(facts, held=3), evaluation)
    assert "3 test samples far from all training samples (by mean, spread, zeros" in text


def test_figures_without_content_are_left_out(facts, evaluation, tmp_path):
    folder = write_paper(tmp_path, evaluation, ReportParts(), facts, dict.fromkeys(FIGURES))
    assert not (folder / "figures").exists()
    assert "# Figures" not in (folder / "methods.md").read_text()
    assert (folder / "quality.tsv").read_text() == ""


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
