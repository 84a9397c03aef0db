"""The filter spares what the training events predict, is chosen from them alone, and says so."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from fastbrain.data import (
    CohortDesign,
    DriftFilter,
    Trial,
    WindowSpec,
    choose_filter,
)
from fastbrain.data.simulate.captions import draw_meanings
from fastbrain.errors import InputError

WINDOW = WindowSpec(delay_s=4.0, window_trs=3)
TR_S = 2.0


def trial(onset, duration, category, *, run="r1", stimulus=""):
    return Trial(
        trial_id=f"{run}-{onset:g}-{category}",
        run_id=run,
        subject="01",
        session="",
        run=run,
        onset=onset,
        duration=duration,
        start=0,
        frames=1,
        stimulus=stimulus,
        text=category,
        category=category,
    )


def chosen(asked, trials, n_volumes):
    lengths = {t.run_id: n_volumes for t in trials}
    return choose_filter(asked, trials, lengths=lengths, tr=TR_S, window=WINDOW)


def blocks(*, runs=6, categories=8, length=22.0, gap=14.0, repeats=1, seed=0):
    """Blocks in random order, each category `repeats` times a run; trials and volumes."""
    rng = np.random.default_rng(seed)
    trials = []
    for run in range(runs):
        order = np.concatenate([rng.permutation(categories) for _ in range(repeats)])
        for place, category in enumerate(order):
            onset = 12 + place * (length + gap)
            trials.append(trial(onset, length, f"c{category}", run=f"r{run}"))
    return trials, int((12 + categories * repeats * (length + gap)) / TR_S)


def clips(design):
    """Trials of a simulated cohort, without its images; trials and volumes."""
    rng = np.random.default_rng(design.seed)
    meanings = iter(draw_meanings(design.subjects * design.runs * design.trials, rng))
    trials = [
        trial(k * design.soa, design.duration, m.category, run=f"s{s}r{r}", stimulus=m.stimulus)
        for s in range(design.subjects)
        for r in range(design.runs)
        for k, m in zip(range(design.trials), meanings, strict=False)
    ]
    return trials, design.volumes


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("soa", [4.0, 8.0, 16.0])
def test_short_events_keep_the_usual_filter(soa, seed):
    found = chosen("auto", *clips(CohortDesign(subjects=3, soa=soa, seed=seed)))
    assert found.high_pass_s == 128
    assert found.asked == "auto"
    assert max(found.removed.values()) < 0.2
    assert found.warning() is None
    assert "128 s (auto, from the training events of 12 runs)" in found.describe()["high-pass"]


@pytest.mark.parametrize("seed", range(3))
def test_blocks_that_come_once_a_run_are_left_a_line_alone(seed):
    trials, n = blocks(seed=seed)
    found = chosen("auto", trials, n)
    assert found.high_pass_s is None
    assert found.usual > 0.25
    assert max(found.removed.values()) == found.line < 0.2
    assert found.warning() is None
    assert "128 s would remove up to" in found.describe()["high-pass"]


def test_a_longer_period_is_the_shortest_that_keeps_what_it_promises():
    trials, n = blocks(runs=2, categories=4, length=24.0, gap=0.0, repeats=16)
    found = chosen("auto", trials, n)
    assert 128 < found.high_pass_s < 2 * n * TR_S
    assert found.high_pass_s == found.spares
    assert max(chosen(found.spares, trials, n).removed.values()) <= 0.05
    # the next cosine that is removed takes too much
    order = int(2 * n * TR_S / found.spares) + 1
    shorter = chosen(2 * n * TR_S / order, trials, n)
    assert max(shorter.removed.values()) > 0.05


@pytest.mark.parametrize(("asked", "share"), [(128.0, 0.3), (300.0, 0.15), (None, 0.05)])
def test_a_period_that_was_asked_for_is_used_and_judged(asked, share):
    trials, n = blocks()
    found = chosen(asked, trials, n)
    assert found.high_pass_s == found.asked == asked
    assert share < max(found.removed.values()) < share + 0.15
    assert set(found.removed) == {f"c{k}" for k in range(8)}
    assert found.stimuli["n"] == len(trials)


def test_the_warning_names_categories_shares_and_a_remedy():
    trials, n = blocks()
    warning = chosen(128, trials, n).warning()
    found = chosen(128, trials, n)
    worst = max(found.removed, key=found.removed.__getitem__)
    assert f"{worst} {found.removed[worst]:.0%}" in warning
    assert f"--high-pass none (a line alone) removes at most {found.line:.0%}" in warning
    trials, n = blocks(runs=2, categories=4, length=24.0, gap=0.0, repeats=16)
    found = chosen(128, trials, n)
    assert f"--high-pass {found.spares:g} would keep 95%" in found.warning()


def test_a_category_each_half_of_a_run_is_slow_whatever_the_filter():
    trials = [trial(k * 8.0, 8.0, "ab"[k >= 20]) for k in range(40)]
    found = chosen("auto", trials, 160)
    assert found.high_pass_s is None
    assert "the events are slow" in found.warning()


def test_stimuli_that_come_once_are_judged_together():
    trials = [
        trial(8.0 * k, 2.0, f"s{r}-{k}", run=f"r{r}", stimulus=f"s{r}-{k}")
        for r in range(250)
        for k in range(40)
    ]
    found = chosen("auto", trials, 166)
    assert found.high_pass_s == 128
    assert list(found.removed) == ["all 10000 categories"]
    assert found.stimuli["n"] == 10_000
    assert found.stimuli["worst"] > found.stimuli["median"] > 0.05


@pytest.mark.parametrize("stimulus", ["", "named"])
def test_one_category_is_judged_by_its_stimuli(stimulus):
    trials = [trial(8.0 * k, 2.0, "clip", stimulus=stimulus and f"s{k}") for k in range(40)]
    found = chosen("auto", trials, 166)
    assert list(found.removed) == ["all stimuli"]
    assert found.high_pass_s == 128


def test_a_rare_category_does_not_decide_for_the_others():
    trials, n = clips(CohortDesign(subjects=2))
    # slow and once: of it a filter of 128 s takes nearly everything
    found = chosen("auto", [*trials, trial(0.0, 300.0, "odd", run="s0r0")], n)
    assert found.high_pass_s == 128
    assert "odd" not in found.removed
    rare = [trial(0.0, 300.0, f"odd{k}", run=f"s{k % 2}r{k % 4}") for k in range(4)]
    assert chosen(128, [*trials, *rare], n).removed["4 rare categories"] > 0.2


def test_events_that_predict_nothing_leave_the_usual_filter():
    found = chosen("auto", [trial(1e6, 2.0, "a"), trial(1e6 + 9, 2.0, "b")], 100)
    assert (found.high_pass_s, found.removed, found.warning()) == (128, {}, None)
    assert found.describe()["it removes"].startswith("nothing")


def test_a_run_too_short_for_the_usual_filter_has_another():
    trials = [trial(60.0 * k, 30.0, "ab"[k % 2]) for k in range(8)]
    found = choose_filter("auto", trials, lengths={"r1": 8}, tr=60.0, window=WINDOW)
    assert (found.high_pass_s, found.usual) == (None, 1.0)


def test_events_are_placed_by_the_time_of_the_first_volume():
    trials, n_volumes = blocks()
    lengths = {t.run_id: n_volumes for t in trials}
    options = {"lengths": lengths, "tr": TR_S, "window": WINDOW}
    # recordings that started 300 s after the clock of their events
    late = [dataclasses.replace(t, onset=t.onset + 300.0) for t in trials]
    starts = dict.fromkeys(lengths, 300.0)
    there = choose_filter("auto", late, starts=starts, **options)
    assert there == choose_filter("auto", trials, **options)
    assert choose_filter("auto", late, **options) != there


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_trials_do_not_choose(count):
    trials = [trial(0.0, 40.0, "x", run=f"r{k}") for k in range(count)]
    found = chosen("auto", trials, 60)
    assert found.usual > 0.2
    assert found.high_pass_s == 128.0


@pytest.mark.parametrize(
    "change",
    [{"removed": {"a": -1}}, {"asked": "often"}, {"runs": "r1"}, {"stimuli": {}}, {"line": None}],
    ids=str,
)
def test_a_damaged_record_is_refused(change):
    value = chosen("auto", *blocks()).to_json()
    assert DriftFilter.from_json(json.loads(json.dumps(value))).to_json() == value
    with pytest.raises(InputError, match=next(iter(change))):
        DriftFilter.from_json({**value, **change})
    with pytest.raises(InputError, match="keys must be"):
        DriftFilter.from_json({k: v for k, v in value.items() if k not in change})
