"""Splits are disjoint, and a planted leak of each kind is caught."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbrain.data import Split, Trial, split_by, split_unseen
from fastbrain.data.splits.share import share_of_training
from fastbrain.errors import InputError, LeakError, SplitError


def make(subjects=3, runs=3, per_run=6, *, shared=False, step=6, frames=3, guard=5):
    return [
        Trial(
            trial_id=f"{s}-{r}-{k}",
            run_id=f"sub-{s}_run-{r}",
            subject=str(s),
            session="",
            run=str(r),
            onset=2.0 * step * k,
            duration=2.0,
            start=2 + step * k,
            frames=frames,
            stimulus=f"{r}-{k}" if shared else f"{s}-{r}-{k}",
            text="t",
            category=str(k),
            guard_trs=guard,
        )
        for s in range(subjects)
        for r in range(runs)
        for k in range(per_run)
    ]


def of(trials, ids, field):
    known = {t.trial_id: t for t in trials}
    return {getattr(known[i], field) for i in ids}


@pytest.mark.parametrize("key", ["run", "subject"])
def test_split_by_whole_groups_loses_nothing(key):
    trials = make()
    split = split_by(trials, key, train=["0"], val=["1"], test=["2"])
    assert split.unused == 0
    assert split.keys == (key,)
    assert split.guard_trs == 5
    assert of(trials, split.test, key) == {"2"}


def test_split_by_run_id_and_unnamed_values_are_unused():
    trials = make()
    split = split_by(
        trials, "run_id", train=["sub-0_run-0"], val=["sub-0_run-1"], test=["sub-2_run-2"]
    )
    assert [len(split.part(p)) for p in ("train", "val", "test")] == [6, 6, 6]
    assert split.unused == len(trials) - 18


def test_neighbours_of_other_parts_are_left_out():
    # windows of 3 every 6 volumes: 3 volumes between, the guard asks for 5
    trials = make(subjects=1, runs=1, per_run=9)
    names = [t.stimulus for t in trials]
    split = split_by(trials, "stimulus", train=names[:5], val=names[5:7], test=names[7:])
    assert split.test == tuple(t.trial_id for t in trials[7:])
    assert split.val == ("0-0-5",)
    assert split.train == ("0-0-0", "0-0-1", "0-0-2", "0-0-3")
    assert split.unused == 2
    close = split_by(
        trials, "stimulus", train=names[:5], val=names[5:7], test=names[7:], guard_trs=3
    )
    assert close.unused == 0


def test_overlapping_values_and_unknown_values():
    trials = make()
    with pytest.raises(LeakError, match="1 in train and test"):
        split_by(trials, "run", train=["0", "1"], val=["2"], test=["1"])
    with pytest.raises(SplitError, match="got 7"):
        split_by(trials, "run", train=["0"], val=["1"], test=["7"])
    with pytest.raises(SplitError, match="val must name"):
        split_by(trials, "run", train=["0"], val=[], test=["2"])
    with pytest.raises(SplitError, match="key must be one of"):
        split_by(trials, "text", train=["t"], val=[], test=[])
    with pytest.raises(InputError, match="guard_trs"):
        split_by(trials, "run", train=["0"], val=["1"], test=["2"], guard_trs=-1)


def test_a_stimulus_split_needs_stimuli():
    trials = [replace(t, stimulus="") for t in make()]
    with pytest.raises(SplitError, match="must have a stimulus"):
        split_unseen(trials, test_subjects=["2"])


def split_of(trials, train, val, test, **options):
    ids = {t.trial_id: t for t in trials}
    assert {*train, *val, *test} <= set(ids)
    options = {"guard_trs": 5, "keys": (), "val_keys": (), **options}
    return Split(tuple(train), tuple(val), tuple(test), **options)


def test_planted_leaks_are_caught():
    trials = make(shared=True)
    good = split_of(trials, ["0-0-0"], ["0-1-0"], ["1-2-0"])
    good.check(trials)
    with pytest.raises(LeakError, match="a trial must be in one part only, got 0-0-0"):
        replace(good, test=("0-0-0",)).check(trials)
    with pytest.raises(LeakError, match=r"subject must be in one part only.*val and test: 1"):
        replace(good, val=("1-1-0",), keys=("subject",)).check(trials)
    with pytest.raises(LeakError, match=r"stimulus must be in one part .*train and test: 0-0"):
        replace(good, test=("1-0-0",), keys=("subject", "stimulus")).check(trials)
    with pytest.raises(LeakError, match="run_id must be in one part only"):
        replace(good, test=("0-0-5",), keys=("run_id",)).check(trials)
    with pytest.raises(LeakError, match=r"run must be in one part only.*train and val"):
        replace(good, val=("1-0-3",), val_keys=("run",)).check(trials)
    with pytest.raises(LeakError, match=r"5 volumes apart, got 1 pairs .*: 0-0-0 \(train\) and"):
        replace(good, test=("0-0-1",)).check(trials)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_empty_and_unknown_parts(part):
    trials = make()
    good = split_of(trials, ["0-0-0"], ["0-1-0"], ["1-2-0"])
    with pytest.raises(SplitError, match=f"{part} must name trials of the cohort, got none"):
        replace(good, **{part: ()}).check(trials)
    with pytest.raises(SplitError, match="got nobody"):
        replace(good, **{part: ("nobody",)}).check(trials)


@pytest.mark.parametrize("gap", range(-4, 9))
@pytest.mark.parametrize("guard", [0, 1, 5])
def test_guard_counts_volumes_between_windows(gap, guard):
    one, two, three = make(1, 3, 1)
    two = replace(two, run_id=one.run_id, start=one.start + one.frames + gap)
    split = Split((one.trial_id,), (three.trial_id,), (two.trial_id,), guard, ())
    if gap < guard:
        with pytest.raises(LeakError, match="apart"):
            split.check([one, two, three])
    else:
        split.check([one, two, three])


@pytest.mark.parametrize("val", ["run", "subject", "stimulus"])
@pytest.mark.parametrize("shared", [False, True], ids=["own stimuli", "shared stimuli"])
def test_unseen(val, shared):
    trials = make(subjects=5, runs=4, per_run=8, shared=shared, step=10)
    split = split_unseen(trials, test_subjects=["4"], val=val, seed=3)
    assert of(trials, split.test, "subject") == {"4"}
    known = of(trials, split.train + split.val, "stimulus")
    assert not known & of(trials, split.test, "stimulus")
    assert not of(trials, split.train, "stimulus") & of(trials, split.val, "stimulus")
    if val != "stimulus":
        assert not of(trials, split.train, val) & of(trials, split.val, val)
    if not shared:
        # nothing of a person with own stimuli has to be thrown away
        assert len(split.test) == 32
    if not shared and val != "stimulus":
        assert split.unused == 0
    assert split == split_unseen(trials, test_subjects=["4"], val=val, seed=3)
    others = [split_unseen(trials, test_subjects=["4"], val=val, seed=k) for k in range(9)]
    assert len({s.val for s in others}) > 1


def test_unseen_refusals():
    trials = make()
    for people, told in (
        (["9"], r"must be some of .*, got \['9'\]"),
        ([], r"must be some of .*, got \[\]"),
        (["0", "1", "2"], "must leave a person to train on"),
    ):
        with pytest.raises(SplitError, match=f"test_subjects {told}"):
            split_unseen(trials, test_subjects=people)
    with pytest.raises(SplitError, match="val_fraction"):
        split_unseen(trials, test_subjects=["2"], val_fraction=1.5)
    with pytest.raises(SplitError, match="val must be"):
        split_unseen(trials, test_subjects=["2"], val="session")
    with pytest.raises(SplitError, match="val must name"):
        split_unseen(make(runs=1), test_subjects=["2"], val="run")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_made_is_disjoint(data):
    step = data.draw(st.integers(1, 12))
    trials = make(4, 3, 7, shared=data.draw(st.booleans()), step=step)
    guard = data.draw(st.integers(0, 12))
    try:
        split = split_unseen(
            trials,
            test_subjects=["3"],
            val=data.draw(st.sampled_from(["run", "subject", "stimulus"])),
            seed=data.draw(st.integers(0, 99)),
            guard_trs=guard,
        )
    except LeakError:
        raise
    except SplitError:
        # a part may end up empty, but a finished split never leaks
        return
    known = {t.trial_id: t for t in trials}
    ids = {name: split.part(name) for name in ("train", "val", "test")}
    assert sum(map(len, ids.values())) + split.unused == len(trials)
    for one in ids:
        for other in ids:
            if one == other:
                continue
            for a in (known[i] for i in ids[one]):
                for b in (known[i] for i in ids[other]):
                    assert a.stimulus != b.stimulus
                    if a.run_id == b.run_id:
                        assert max(a.start, b.start) - min(a.start, b.start) - 3 >= guard


def test_json_round_trip():
    trials = make()
    split = split_unseen(trials, test_subjects=["2"])
    value = json.loads(json.dumps(split.to_json()))
    assert Split.from_json(value) == split
    for bad in (None, [], {**value, "more": 1}, {**value, "train": "a"}, {**value, "val": [1]}):
        with pytest.raises(SplitError, match="from_json"):
            Split.from_json(bad)
    with pytest.raises(SplitError, match="closed_set"):
        Split.from_json({**value, "closed_set": 1})
    before = {k: v for k, v in value.items() if k != "closed_set"}
    assert Split.from_json(before) == split
    for guard in (-1, 1.5, True, "5"):
        with pytest.raises(SplitError, match="guard_trs"):
            Split.from_json({**value, "guard_trs": guard})


def test_a_share_of_the_split_of_another_cohort_is_refused():
    split = split_by(make(), "run", train=["0"], val=["1"], test=["2"])
    with pytest.raises(SplitError, match="must name trials of the cohort"):
        share_of_training(split, make(subjects=1), 0.5)


def test_part_names():
    split = Split(("a",), ("b",), ("c",), 0, ())
    assert split.part("val") == ("b",)
    with pytest.raises(SplitError, match="name must be one of"):
        split.part("guard_trs")
