"""Rehearsals: drawn faults, synthetic files, go and no-go."""

from __future__ import annotations

from collections import Counter

import nibabel as nib
import numpy as np
import pytest
from fake_clock import FakeClock

from fastbrain.data.store.window_limits import window_statistics
from fastbrain.errors import ConfigError
from fastbrain.realtime.rehearsal import (
    FaultPlan,
    FaultRates,
    FolderScanner,
    Latency,
    SyntheticBrain,
    Tally,
    judge,
)
from fastbrain.realtime.rehearsal.verdict import histogram
from fastbrain.realtime.session import Outcome, Record

USUAL = FaultRates.parse("usual")


@pytest.mark.parametrize("seed", range(5))
def test_faults_are_drawn_at_their_rates(seed):
    plan = FaultPlan.draw(400, USUAL, seed=seed)
    counts = Counter(plan.kinds.values())
    assert counts == {"drops": 20, "duplicates": 4, "swaps": 8, "truncated": 4, "half_written": 4}
    swapped = [i for i, kind in plan.kinds.items() if kind == "swaps"]
    # the volume that overtakes a swapped one has no fault of its own
    assert not {i + 1 for i in swapped} & set(plan.kinds)
    assert max(plan.kinds) < 398
    assert set(plan.labels) == {i for i, k in plan.kinds.items() if k != "half_written"}


def test_every_kind_is_drawn_at_least_once():
    assert set(FaultPlan.draw(40, USUAL).kinds.values()) == set(vars(USUAL))


@pytest.mark.parametrize("volumes", [1, 2, 3, 5])
def test_short_rehearsals_have_what_fits(volumes):
    plan = FaultPlan.draw(volumes, USUAL)
    assert all(0 <= i < max(volumes - 2, 0) for i in plan.kinds)


@pytest.mark.parametrize(
    ("text", "rates"),
    [("", FaultRates()), ("drops=0.1, half-written=0.02", FaultRates(0.1, half_written=0.02))],
)
def test_rates_are_read(text, rates):
    assert FaultRates.parse(text) == rates


@pytest.mark.parametrize("text", ["all", "drops", "drops=x", "drops=-1", "drops=nan"])
def test_other_rates_are_refused(text):
    with pytest.raises(ConfigError, match="faults must be 'usual' or pairs of"):
        FaultRates.parse(text)


def test_rates_above_a_half_are_refused():
    with pytest.raises(ConfigError, match=r"together at most 0\.5"):
        FaultRates.parse("drops=0.9")


def test_a_synthetic_brain_looks_like_the_training_windows(store):
    brain = SyntheticBrain(store)
    frames = np.stack([brain.volume() for _ in range(60)]).astype(np.float64)
    inside = store.grid.patch_mask
    voxels = frames.reshape(60, -1)[:, store.grid.offsets[inside]]
    psc = 100 * (voxels / voxels.mean(axis=0) - 1)
    steps = np.zeros((60, *inside.shape), dtype=np.int16)
    steps[:, inside] = (psc / store.scale).round()
    rows = window_statistics(
        steps.reshape(15, 4, *inside.shape),
        mean=store.mean,
        inv_std=store.inv_std,
        scale=store.scale,
        mean_image=store.mean_image,
    )
    assert [store.limits.fault(row) for row in rows] == [""] * 15


def test_the_scanner_writes_what_was_planned(store, tmp_path):
    clock = FakeClock()
    kinds = {2: "drops", 3: "duplicates", 5: "swaps", 8: "truncated", 9: "half_written"}
    plan = FaultPlan(12, kinds)
    order, sizes = [], {}
    scanner = FolderScanner(tmp_path, SyntheticBrain(store), plan, pace_s=2.0, clock=clock)
    write = scanner._write

    def noted(name, content, **options):
        order.append((clock.now(), name))
        sizes[name] = len(content)
        write(name, content, **options)

    scanner._write = noted
    scanner.scan()
    names = [name for _, name in order]
    number = [int(name[-10:-4]) for name in names]
    assert number == [0, 1, 3, 3, 4, 6, 5, 7, 8, 9, 10, 11]
    assert names[3] == "again_volume_000003.nii"
    assert sizes["volume_000008.nii"] < sizes["volume_000007.nii"]
    assert sizes["volume_000009.nii"] == sizes["volume_000007.nii"]
    times = dict(zip(number, (at for at, _ in order), strict=True))
    assert all(times[i] == pytest.approx(2.0 * i) for i in (0, 1, 3, 4, 6, 7, 8, 9, 10, 11))
    assert times[5] == pytest.approx(2.0 * 6 + 1.0)
    image = nib.load(tmp_path / "volume_000007.nii")
    assert image.shape == store.grid.shape[::-1]
    np.testing.assert_allclose(image.affine, store.affine)


def test_old_files_are_removed(store, tmp_path):
    plan = FaultPlan(100, {})
    scanner = FolderScanner(tmp_path, SyntheticBrain(store), plan, pace_s=0.1, clock=FakeClock())
    scanner.scan()
    assert len(list(tmp_path.iterdir())) == 64


def tally_of(statuses, **changed):
    tally = Tally(len(statuses))
    for i, status in enumerate(statuses):
        values = {"text_s": 0.1, "first_word_s": 0.05} | changed.get(str(i), {})
        outcome = Outcome(1.0, stages_s={"motion": 0.01})
        tally.write(Record(i, status, outcome=outcome, **values).to_json(text=False))
    return tally


PLAN = FaultPlan(6, {1: "drops", 3: "half_written"})
GOOD = ("ok", "dropped", "held", "ok", "ok", "ok")


def judged(tally, counters=()):
    return judge(tally, PLAN, deadline_s=0.8, counters=dict(counters))


def test_a_good_rehearsal_is_a_go():
    verdict = judged(tally_of(GOOD))
    assert verdict.go
    assert [one.name for one in verdict.latencies] == [
        "to first word", "to sentence", "stage motion"
    ]  # fmt: skip


def test_reasons_that_differ_in_numbers_are_counted_together():
    reasons = {"0": "warming up: 1 of 3", "1": "no signal", "2": "warming up: 2 of 3"}
    more = {i: {"reason": reason} for i, reason in reasons.items()}
    verdict = judged(tally_of(("held",) * 3 + ("ok",) * 3, **more))
    # the kind that was met last is the last one
    assert verdict.held == ((1, "no signal"), (2, "warming up: 2 of 3"))


@pytest.mark.parametrize(
    ("statuses", "more", "word"),
    [
        (("ok", "ok", "held", "ok", "ok", "ok"), {}, "another label"),
        (("ok", "dropped", "dropped", "ok", "ok", "ok"), {}, "without a fault"),
        (GOOD, {"4": {"missed": True}}, "deadlines"),
        (GOOD, {"4": {"reason": "the decoder failed: X"}}, "failed"),
        (GOOD, {"counters": {"unwritten": 2}}, "written"),
        (GOOD, {str(i): {"text_s": None} for i in range(6)}, "no window was decoded"),
        (GOOD[:5], {}, "no record"),
    ],
)
def test_a_broken_promise_is_a_no_go(statuses, more, word):
    tally = tally_of(statuses, **more)
    if len(statuses) < 6:
        tally = Tally(6)
        for i, status in enumerate(statuses):
            tally.write(Record(i, status, text_s=0.1).to_json(text=False))
    verdict = judged(tally, more.get("counters", {}))
    assert not verdict.go
    assert any(word in reason for reason in verdict.reasons)


def test_two_records_of_a_tr_are_a_no_go():
    tally = tally_of(GOOD)
    tally.write(Record(0, "ok").to_json(text=False))
    tally.write(Record(99, "ok").to_json(text=False))
    reasons = judged(tally).reasons
    assert "1 of 6 TRs" in reasons[0]
    assert "1 records" in reasons[1]


def test_percentiles_are_those_of_numpy():
    seconds = np.random.default_rng(0).uniform(0, 1, 101)
    one = Latency.of("x", seconds)
    assert (one.p50, one.p99) == tuple(np.quantile(seconds, [0.5, 0.99]))
    assert (one.count, one.most) == (101, seconds.max())
    assert Latency.of("x", np.empty(0)).count == 0


def test_the_histogram_counts_every_latency():
    lines = histogram([0.1, 0.2, 0.2, 0.9, 5.0], 0.8)
    counts = [int(line.split()[-1]) for line in lines[1:-1]]
    assert sum(counts) == 5
    assert counts[-1] == 2  # beyond the deadline
    assert lines[-1] == "deadline: 800 ms"
    assert histogram([], 0.8) == []
