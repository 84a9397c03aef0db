"""The Haxby study: filter, ridge and pairs of runs."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbrain.errors import CohortError

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))

    def load(name):
        return runpy.run_path(str(STUDIES / f"{name}.py"))

    return load


@pytest.fixture
def haxby(real_data):
    folder = real_data / "haxby_runs01-08"
    if not folder.is_dir():
        pytest.skip("no haxby_runs01-08 among the real data")
    return folder


def test_ridge_on_real_recordings(study, haxby, tmp_path):
    data, ridge = study("haxby_data"), study("haxby_ridge")
    ridge["fit_ridge"].__globals__["ALPHAS"] = np.array([316.0])
    table = data["write_tables"](haxby, list(range(1, 9)), 2.5, tmp_path)
    store = data["make_store"](table, tmp_path / "store", [7, 8], 0.0)
    # blocks that come once a run: a third lies where 128 s filter
    assert store.info.high_pass_s is None
    assert 0.3 < store.info.filter["usual"] < 0.4
    assert max(store.info.filter["removed"].values()) < 0.15
    assert len(store.info.filter["runs"]) == 6
    fit = ridge["fit_ridge"](store)
    scores = ridge["ridge_scores"](store, fit)
    truth = list(data["block_truth"](store, data["parts"](store)[1]).values())
    assert scores.shape == (16, 8)
    # 14 of 16 are measured; chance is 2
    assert (scores.argmax(axis=1) == truth).sum() >= 12
    left = ridge["left_out_scores"](store, fit)
    known = data["block_truth"](store, data["parts"](store)[0])
    assert list(left) == list(known)
    right = np.mean([left[block].argmax() == label for block, label in known.items()])
    assert right == pytest.approx(fit.accuracy)


@pytest.mark.parametrize("options", [["--all-pairs", "--test", "7-8"], ["--folds", "0"]])
def test_options_without_effect_are_refused(options, study, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["haxby", "--data", "absent", *options])
    with pytest.raises(SystemExit) as refused:
        study("haxby")["main"]()
    assert refused.value.code == 2


def test_a_missing_key_is_named(study, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["haxby", "--data", str(tmp_path)])
    with pytest.raises(CohortError, match=r"scan_key\.txt must be"):
        study("haxby")["main"]()
    for run in range(1, 9):
        (tmp_path / f"sub001/BOLD/task001_run{run:03d}").mkdir(parents=True)
    (tmp_path / "scan_key.txt").write_text("TR 2.5\n")
    with pytest.raises(CohortError, match=r"condition_key\.txt must name"):
        study("haxby")["main"]()


def test_every_pair_of_runs_is_tested_once(study, tmp_path, monkeypatch):
    main = study("haxby")["main"]
    asked = []

    def decode_runs(_args, train, test, _work):
        asked.append((train, test))
        rows = {"block_accuracy": 0.5, "block_accuracy_lm": 0.4, "block_accuracy_free_text": 0.25}
        rows["block_chance"] = 0.125
        return {**rows, "ridge_block_accuracy": len(asked) / 4, "n_blocks": 16}

    monkeypatch.setitem(main.__globals__, "decode_runs", decode_runs)
    out = tmp_path / "metrics.json"
    words = ["haxby", "--data", str(tmp_path), "--all-pairs", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    main()
    assert [test for _, test in asked] == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert all(sorted(train + test) == list(range(1, 9)) for train, test in asked)
    found = json.loads(out.read_text())
    assert found["n_blocks"] == 64
    assert found["block_chance"] == 0.125
    assert found["ridge_block_accuracy"] == pytest.approx(0.625)
    assert found["behind_ridge"] == pytest.approx(0.125)
    assert found["block_accuracy_lm"] == pytest.approx(0.4)
    assert len(found["pairs"]) == 4
