"""Tables of variants: means over seeds, paired differences, and adjusted p."""

from __future__ import annotations

import json

import numpy as np
import pytest
from known import made, sentences

from fastbrain.errors import InputError
from fastbrain.evaluation import evaluate_text, read_samples, write_samples
from fastbrain.experiments.figures import drawn
from fastbrain.experiments.report import OUTPUTS, write_results
from fastbrain.experiments.results import Scored, compare_variants, table
from fastbrain.stats import adjusted_p


def scored(tmp_path, right, seed: int, n: int = 32) -> Scored:
    """A decoder that says the true text of the first `right` samples and knows them as well."""
    truth = sentences(n)
    rng = np.random.default_rng([seed, right])
    said = [text if i < right else "nothing at all" for i, text in enumerate(truth)]
    nll = np.array([[float(a != b) for b in truth] for a in truth])
    nll[right:] = 1.0
    nll = nll + 0.01 * rng.normal(size=nll.shape)
    result = evaluate_text(*made(said, nll), bert=False)
    path = tmp_path / f"{right}-{seed}.parquet"
    write_samples(path, result)
    return Scored(read_samples(path), result.scores)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    found = {
        "reference": [scored(folder, 32, 0), scored(folder, 24, 1)],
        "half": [scored(folder, 16, 0), scored(folder, 16, 1)],
        "none": [scored(folder, 0, 0), scored(folder, 0, 1)],
    }
    titles = {"reference": "as trained", "half": "half", "none": "none"}
    return compare_variants(found, titles), found


def test_values_are_means_over_seeds(results):
    table, found = results
    cell = table.of("reference", "rougeL_f")
    assert cell.value == pytest.approx((1.0 + 0.75) / 2)
    assert cell.spread == pytest.approx(np.std([1.0, 0.75], ddof=1))
    chances = [next(s for s in run.scores if s.metric == "rougeL_f" and not s.group).chance
               for run in found["reference"]]  # fmt: skip
    assert cell.chance == pytest.approx(np.mean(chances))
    assert (cell.n, cell.seeds, cell.difference) == (32, 2, None)


def test_differences_are_paired_by_window(results):
    table, _ = results
    cell = table.of("half", "rougeL_f")
    # the first seed differs in the last two runs of four, the second in the third
    assert cell.difference == pytest.approx(0.5 - 0.875)
    assert cell.difference_interval.low == pytest.approx(-0.75, abs=0.1)
    assert cell.difference_interval.high <= 0.0
    none = table.of("none", "pairwise")
    # four blocks: two-sided p of four equal signs
    assert none.difference_p == pytest.approx(2 / 16)
    assert table.of("half", "bleu1").difference_p is None
    assert table.of("half", "bleu1").difference < 0


def test_p_is_the_largest_of_the_seeds_and_adjusted_over_the_table(results):
    table, found = results
    cell = table.of("none", "pairwise")
    each = [next(s for s in run.scores if s.metric == "pairwise" and s.control == "deranged brain"
                 and not s.group).p for run in found["none"]]  # fmt: skip
    assert cell.p == max(each)
    family = adjusted_p([c.p for c in table.cells if c.p is not None])
    assert [c.adjusted for c in table.cells if c.p is not None] == pytest.approx(family)


def test_other_samples_are_refused(results, tmp_path):
    _, found = results
    other = {**found, "none": [scored(tmp_path, 0, 0, n=24)] * 2}
    with pytest.raises(InputError, match="scored on the same samples, got others for 'none'"):
        compare_variants(other, {})
    with pytest.raises(InputError, match="must have every seed"):
        compare_variants({**found, "none": found["none"][:1]}, {})


def test_table_and_figures_are_written(results, tmp_path):
    found, _ = results
    text = write_results(tmp_path, found, title="Parts", notes=["A note."])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(OUTPUTS)
    assert text.startswith("# Parts\n\nA note.\n\n## pairwise accuracy (teacher-forced)")
    assert text == (tmp_path / "table.md").read_text()
    kept = json.loads((tmp_path / "results.json").read_text())
    assert len(kept["cells"]) == len(found.cells)
    assert "0.875 ± 0.177" in table(found)
    assert (tmp_path / "figure.svg").read_text().count("as trained") >= 1


def test_variants_with_values_are_a_curve(results):
    found, runs = results
    curve = compare_variants(
        runs, found.titles, values={"reference": 100, "half": 50, "none": 0}, axis="share (%)"
    )
    axes = [axis for axis in drawn(curve).axes if axis.lines]
    line = next(line for line in axes[0].lines if len(line.get_xdata()) == 3)
    assert list(line.get_xdata()) == [0, 50, 100]
    assert axes[0].get_xlabel() == "share (%)"
