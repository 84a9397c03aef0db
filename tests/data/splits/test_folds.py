"""Cross-validation: each group is tested once, apart from all it is trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbrain.data import Trial, split_by, split_folds, split_leave_one_out, split_subject_folds
from fastbrain.data.splits.split import values_of
from fastbrain.errors import LeakError, SplitError

KEYS = ("subject", "session", "run", "run_id", "story", "stimulus", "category", "site", "family")


def make(subjects=6, runs=3, per_run=4, step=12):
    return [
        Trial(
            trial_id=f"{s}-{r}-{k}",
            run_id=f"sub-{s}_run-{r}",
            subject=str(s),
            session=f"{s}{r % 2}",
            run=str(r),
            onset=2.0 * step * k,
            duration=2.0,
            start=step * k,
            frames=3,
            stimulus=f"{s}-{r}-{k}",
            text="t",
            category=str(k),
            guard_trs=5,
            story=f"story-{r}-{k // 2}",
            family=f"family-{s // 2}",
            site=f"site-{s % 3}",
        )
        for s in range(subjects)
        for r in range(runs)
        for k in range(per_run)
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_trial_is_tested_once_and_apart(data):
    trials = make(step=data.draw(st.integers(3, 12)))
    key = data.draw(st.sampled_from(KEYS))
    groups = values_of(trials, key)
    folds = data.draw(st.integers(3, max(3, min(7, len(groups)))))
    try:
        splits = split_folds(trials, key, folds=folds, seed=data.draw(st.integers(0, 99)))
    except LeakError:
        raise
    except SplitError:
        # too few groups, or a part lost all its trials to the guard
        return
    known = {t.trial_id: t for t in trials}
    tested = [i for split in splits for i in split.test]
    assert sorted(tested) == sorted(known)
    assert len(splits) == folds
    for k, split in enumerate(splits):
        split.check(trials)
        values = {
            part: {getattr(known[i], key) for i in split.part(part)}
            for part in ("train", "val", "test")
        }
        assert not values["test"] & (values["train"] | values["val"])
        assert not values["train"] & values["val"]
        # what validates now is tested next
        assert values["val"] <= {getattr(known[i], key) for i in splits[(k + 1) % folds].test}


@pytest.mark.parametrize("key", ["subject", "run", "story", "site", "family"])
def test_leave_one_out(key):
    trials = make()
    splits = split_leave_one_out(trials, key, closed_set=True)
    groups = values_of(trials, key)
    known = {t.trial_id: t for t in trials}
    assert [{getattr(known[i], key) for i in s.test} for s in splits] == [{g} for g in groups]
    assert all(s.closed_set and s.keys == (key,) for s in splits)


def test_folds_are_of_like_size_and_drawn_by_seed():
    trials = make(subjects=7)
    # one person was scanned three times as long
    trials += [replace(t, trial_id=f"{t.trial_id}-{n}", run_id=f"{t.run_id}-{n}",
                       stimulus=f"{t.stimulus}-{n}")
               for n in (1, 2) for t in trials if t.subject == "0"]  # fmt: skip
    splits = split_folds(trials, "subject", folds=3)
    assert [len(s.test) for s in splits] == [36, 36, 36]
    assert splits == split_folds(trials, "subject", folds=3)
    assert len({split_folds(trials, "subject", folds=3, seed=k) for k in range(9)}) > 1


@pytest.mark.parametrize(("folds", "sizes"), [(None, [1] * 6), (2, [3, 3]), (4, [1, 1, 2, 2])])
def test_every_person_is_tested_once_on_stimuli_that_training_lacks(folds, sizes):
    # everybody sees the same films
    trials = [
        replace(t, stimulus=f"film-{t.run}-{t.trial_id.rpartition('-')[2]}", story="")
        for t in make(subjects=6)
    ]
    by_id = {t.trial_id: t for t in trials}
    splits = split_subject_folds(trials, folds=folds, val_fraction=0.3, seed=1)
    tested = [sorted({by_id[t].subject for t in s.test}) for s in splits]
    assert sorted(len(people) for people in tested) == sizes
    assert sorted(p for people in tested for p in people) == sorted({t.subject for t in trials})
    for split in splits:
        known = {by_id[t].stimulus for t in (*split.train, *split.val)}
        assert not known & {by_id[t].stimulus for t in split.test}
    with pytest.raises(SplitError, match=r"folds must be 2\.\.6, the number of people, got 7"):
        split_subject_folds(trials, folds=7)


@pytest.mark.parametrize(
    ("key", "folds", "message"),
    [
        ("site", 4, r"folds must be at most the 3 values of site, got 4"),
        ("subject", 2, "folds must be >= 3, got 2"),
        ("colour", 3, "key must be one of"),
    ],
)
def test_refused(key, folds, message):
    with pytest.raises(SplitError, match=message):
        split_folds(make(), key, folds=folds)


def test_too_few_groups_to_leave_one_out():
    with pytest.raises(SplitError, match="family must have at least 3 values, got 2"):
        split_leave_one_out(make(subjects=4), "family")


@pytest.mark.parametrize("key", ["family", "site"])
def test_a_person_in_two_families_or_sites(key):
    trials = make()
    trials[0] = replace(trials[0], **{key: "another"})
    told = f"a subject must have one {key}, got another and {key}-0 of subject 0"
    with pytest.raises(SplitError, match=told):
        split_folds(trials, key, folds=3)
    with pytest.raises(SplitError, match=told):
        split_leave_one_out(trials, key)
    with pytest.raises(SplitError, match=told):
        split_by(trials, key, train=[f"{key}-0"], val=[f"{key}-1"], test=[f"{key}-2"])
    # the same person at two sites is fine where sites are not held out
    split_folds(trials, "subject", folds=3)


@pytest.mark.parametrize(("key", "where"), [("story", "events"), ("site", "participants.tsv")])
def test_a_key_that_nobody_filled_in(key, where):
    with pytest.raises(SplitError, match=where):
        split_folds([replace(t, **{key: ""}) for t in make()], key, folds=3)
