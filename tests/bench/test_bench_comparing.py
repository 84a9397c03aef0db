"""Two sets of rows against each other: verdicts, intervals, and what is not compared."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import fastbrain
from fastbrain import cli
from fastbrain.bench.comparing import change_lines, compare_rows
from fastbrain.bench.statistics import log_error
from fastbrain.errors import InputError

# an installed wheel has no commits
IN_CHECKOUT = (Path(fastbrain.__file__).parents[1] / ".git").exists() and shutil.which("git")


def row(provider="fastbrain", ms=1.0, *, spread=0.01, rounds=25, threads=1, commit="a", **other):
    env = {"cpu": "AMD EPYC", "threads": threads, "commit": commit, "date": "2026-11-29"}
    return {
        **{"op": "vq_lookup", "case": "1x2x3", "provider": provider, "dtype": "float32"},
        **{"ms_p20": ms * (1 - spread), "ms_p50": ms, "ms_p80": ms * (1 + spread)},
        **{"rounds": rounds, "env": env, **other},
    }


@pytest.mark.parametrize(
    ("after", "spread", "verdict"),
    [
        (0.5, 0.01, "faster"),
        (2.0, 0.01, "slower"),
        (1.02, 0.001, "same"),  # certain, and below the least change
        (1.2, 0.6, "same"),  # large, and uncertain
        (1.2, 0.05, "slower"),
    ],
)
def test_a_change_is_named_where_it_is_certain_and_large_enough(after, spread, verdict):
    [change] = compare_rows([row(spread=spread)], [row(ms=after, spread=spread)]).changes
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(after)
    assert change.low < change.ratio < change.high


def test_the_interval_of_a_median_covers_it():
    """For log-normal noise, the interval has the ratio in about 95 % of 400 draws."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        sides = []
        for _ in range(2):
            p20, p50, p80 = np.quantile(np.exp(rng.normal(0, 0.1, 25)), [0.2, 0.5, 0.8])
            sides.append({**row(), "ms_p20": p20, "ms_p50": p50, "ms_p80": p80})
        [change] = compare_rows(sides[:1], sides[1:]).changes
        inside += change.low <= 1 <= change.high
    # three standard errors of a share of 0.95 of 400 draws are 0.033
    assert inside / 400 == pytest.approx(0.95, abs=0.035)
    assert log_error(1.0, 1.0, 9) == 0.0


def test_repeats_in_turn_are_compared_in_pairs():
    """The machine slows by a half meanwhile; each pair shows the same tenth."""
    drift = [1.0, 1.2, 1.5, 1.3]
    before = [row(ms=slow) for slow in drift]
    after = [
        row(ms=slow * factor) for slow, factor in zip(drift, [1.1, 1.1, 1.11, 1.09], strict=True)
    ]
    [change] = compare_rows(before, after).changes
    assert change.verdict == "slower"
    assert change.ratio == pytest.approx(1.1, rel=0.001)
    assert change.high - change.low < 0.05
    [alone] = compare_rows(before, after[:3]).changes
    assert alone.high - alone.low > 0.5


def test_the_drift_is_that_of_the_other_packages():
    before = [row(), row("rival", 2.0), row("gemm", 1.0, ceiling=True)]
    after = [row(ms=1.5), row("rival", 3.0), row("gemm", 9.0, ceiling=True)]
    found = compare_rows(before, after)
    assert found.drift == pytest.approx(1.5)
    assert "other packages: 1.500x the time" in "\n".join(change_lines(found))
    assert compare_rows([row()], [row()]).drift is None


def test_only_equal_settings_are_compared():
    before = [row(threads=1), row(case="9x9x9")]
    after = [row(threads=2, ms=0.5), row(case="9x9x9"), {**row(), "op": "failed_vq_lookup"}]
    found = compare_rows(before, after)
    assert [change.label for change in found.changes] == ["vq_lookup 9x9x9, 1 thread"]
    assert (found.only_before, found.only_after) == (1, 1)
    assert len(compare_rows(before, after, threads=False).changes) == 2
    with pytest.raises(InputError, match="must have a common op"):
        compare_rows(before[:1], after[:1])
    with pytest.raises(InputError, match="rows must hold times"):
        compare_rows([{"op": "roofline", "env": {"date": ""}}], after)


def test_the_command_prints_and_writes_the_comparison(tmp_path, capsys):
    files = []
    for name, ms in (("a", 1.0), ("b", 0.4)):
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text(json.dumps(row(ms=ms, commit=name)) + "\n")
    out = tmp_path / "comparison.json"
    assert cli.main(["bench", "compare", *map(str, files), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "before: AMD EPYC, commit a" in printed
    assert "fastbrain: 0 slower, 1 faster, 0 same" in printed
    [change] = json.loads(out.read_text())["changes"]
    assert change["verdict"] == "faster"
    assert math.isclose(change["ratio"], 0.4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "two files of rows or --base must be given"),
        (["a.jsonl", "b.jsonl", "--base", "main"], "two files of rows or --base must be given"),
        (["a.jsonl", "b.jsonl"], "must be a file of rows"),
        (["--base", "main", "--blocks", "2"], "blocks must be at least 3"),
        (["--base", "no-such-commit", "--op", "vq_step"], "base must be a commit"),
    ],
)
def test_what_cannot_be_compared_is_refused(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "compare", *words]) != 0
    shown = " ".join(capsys.readouterr().err.split())
    if told == "base must be a commit" and not IN_CHECKOUT:
        told = "git checkout of fastbrain"
    assert told in shown
    assert list(tmp_path.iterdir()) == []
