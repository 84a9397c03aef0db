"""Every kind of leak is caught when it is planted, and nothing is found where nothing is."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fastbrain.data import (
    AuditRecord,
    FitScope,
    audit_records,
)
from fastbrain.data.leaks.checks import KINDS
from fastbrain.errors import InputError, LeakError

# different sentences, none of which holds another
SENTENCES = {
    "train": "a man carries a chair along the beach",
    "val": "two dogs sleep under an old piano",
    "test": "the girl paints her brother's red bicycle",
}


def sample(part, **changes):
    """A sample of its own person, run, stimulus, text and scan."""
    own = AuditRecord(
        record_id=part,
        part=part,
        subject=f"person {part}",
        run="1",
        run_id=f"run of {part}",
        family=f"family {part}",
        story=f"story {part}",
        stimulus=f"clip {part}",
        text=SENTENCES.get(part, ""),
        prompt=f"tell the story of {part}",
        start=10,
        frames=4,
        scans=tuple(f"{part}-{k}" for k in range(4)),
    )
    return replace(own, **changes)


def samples(**test):
    """One sample a part; the test sample is changed."""
    return [sample("train"), sample("val"), sample("test", **test)]


GUARD = {"guard_trs": 6}


def test_a_clean_split_is_clean():
    audit = audit_records(samples(), fits=[FitScope("scaler", ("train",))], **GUARD)
    assert audit.clean
    assert audit.unchecked == ()
    assert audit.fits == {"scaler": 1}
    assert audit.check() == audit


PLANTED = {
    "sample": (samples(record_id="train"), {}),
    "claim": (samples(subject="person train"), {"keys": ("subject",)}),
    "closed": (
        [sample("train"), sample("test")],
        {"closed_set": True},
    ),
    "scan": (samples(scans=("x", "train-2")), {}),
    "window": (samples(run_id="run of train", start=19), GUARD),
    "stimulus": (samples(stimulus="clip train"), {}),
    "text": (samples(text="A man  carries a CHAIR, along the beach!"), {}),
    "story": (samples(story="story train"), {}),
    "family": (samples(family="family train"), {}),
    "prompt": (samples(prompt=f"before: {SENTENCES['train'].upper()}. After:"), {}),
    "fit": (samples(), {"fits": [FitScope("PCA", ("train", "test"))]}),
}


def test_every_kind_has_a_planted_leak():
    assert set(PLANTED) == set(KINDS)


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_leak_of_each_kind_is_caught(kind):
    records, options = PLANTED[kind]
    audit = audit_records(records, **options)
    assert {leak.kind for leak in audit.findings} == {kind}
    (leak,) = audit.findings
    assert {"train", "test"} == set(leak.parts)
    assert (leak.pairs, leak.affected, leak.of) == (1, 1, 1)
    assert leak.examples[0][0] in ("train", "test", "PCA")
    with pytest.raises(LeakError, match=KINDS[kind]) as refusal:
        audit.check()
    assert leak.examples[0][0] in str(refusal.value)
    let = audit.check(allow="a control experiment")
    assert let.allowed == "a control experiment"
    assert let.to_json()["findings"][0]["kind"] == kind
    assert json.loads(json.dumps(let.to_json()))["allowed"] == "a control experiment"


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_has_to_say_something(reason):
    with pytest.raises(InputError, match="allow must be a reason"):
        audit_records(samples()).check(allow=reason)


@pytest.mark.parametrize("start", range(0, 22))
@pytest.mark.parametrize("guard", [0, 6])
def test_windows_are_apart_by_the_guard(start, guard):
    # the training window is 10..13
    audit = audit_records(samples(run_id="run of train", start=start), guard_trs=guard)
    between = max(start - 14, 10 - (start + 4))
    assert bool(audit.findings) == (between < guard)


def test_counts_of_windows_against_every_pair():
    rng = np.random.default_rng(5)
    records = [
        AuditRecord(
            str(i), ("train", "test")[i % 2], run_id=str(i % 3), start=int(s), frames=int(f)
        )
        for i, (s, f) in enumerate(
            zip(rng.integers(0, 300, 90), rng.integers(1, 9, 90), strict=True)
        )
    ]
    pairs = {
        (a.record_id, b.record_id)
        for a in records[::2]
        for b in records[1::2]
        if a.run_id == b.run_id
        and a.start < b.start + b.frames + 5
        and b.start < a.start + a.frames + 5
    }
    (leak,) = audit_records(records, guard_trs=5).findings
    assert leak.pairs == len(pairs)
    assert leak.affected == len({b for _, b in pairs})
    assert {(a, b) for a, b, _ in leak.examples} <= pairs


def test_validation_is_a_part_like_others():
    records = samples()
    records[1] = replace(records[1], text=SENTENCES["test"], scans=records[0].scans)
    found = {(leak.kind, leak.parts) for leak in audit_records(records).findings}
    assert found == {("text", ("val", "test")), ("scan", ("train", "val"))}


def test_what_is_not_known_is_not_compared():
    bare = [AuditRecord(part, part) for part in ("train", "val", "test")]
    audit = audit_records(bare)
    assert audit.clean
    unknown = {"scan", "window", "stimulus", "text", "story", "family", "prompt", "fit"}
    assert set(audit.unchecked) == unknown


def test_relatives_matter_where_people_are_held_out():
    one_person = [sample(part, subject="1", family="f") for part in ("train", "val", "test")]
    assert audit_records(one_person).clean


def test_short_phrases_of_different_stories_agree_by_chance():
    chance = samples(text="a piece of clothing")
    chance[0] = replace(chance[0], text="a piece of clothing")
    chance[1] = replace(chance[1], prompt="it is a piece of clothing")
    assert audit_records(chance).clean
    for story in ("", "one"):
        same = [replace(r, story=story) for r in chance]
        kinds = {leak.kind for leak in audit_records(same).findings} - {"story"}
        assert kinds == {"text", "prompt"}


def test_a_prompt_may_not_hold_its_own_text():
    (leak,) = audit_records(samples(prompt="say: " + SENTENCES["test"])).findings
    assert (leak.kind, leak.parts) == ("prompt", ("test", "test"))


def test_a_prompt_of_all_samples():
    assert audit_records(samples(), prompts=["what does the person see ?"]).clean
    # what training is to say may stand in the prompt: it is no secret
    assert audit_records(samples(), prompts=[SENTENCES["train"]]).clean
    (leak,) = audit_records(samples(), prompts=["is it " + SENTENCES["test"]]).findings
    assert leak.parts == ("train", "test")


def categories(**test):
    words = ("a house", "a face", "a cat")
    return [
        AuditRecord(f"{part}-{i}", part, run_id=part, start=9 * i, frames=2, text=text, **test)
        for part in ("train", "val", "test")
        for i, text in enumerate(words)
    ]


def test_a_closed_set_has_to_be_declared():
    with pytest.raises(LeakError) as refusal:
        audit_records(categories()).check()
    assert str(refusal.value) == (
        "audit: split must have no leak, got the same text in train and test (3 of 3 test "
        "samples), train and val (3 of 3 val samples), val and test (3 of 3 test samples), e.g. "
        "train-0 and test-0 'a house'. If the 3 texts of the test part are a closed set that "
        "training may know, for example categories, prepare the store with --closed-set "
        "(closed_set=True). If not, split by what is shared, or give a reason to accept it "
        "(--allow-leak REASON)."
    )
    audit = audit_records(categories(), closed_set=True).check()
    assert audit.clean
    assert {leak.kind for leak in audit.declared} == {"text"}
    assert (audit.to_json()["closed_set"], audit.to_json()["texts"]) == (True, 3)


def test_a_closed_set_may_be_asked_for_but_not_given_away():
    question = "is it a house or a face or a cat"
    sights = [replace(r, text="it is " + r.text) for r in categories()]
    asked = [replace(r, prompt=question) for r in sights]
    assert audit_records(asked, closed_set=True).clean
    given = [replace(r, prompt="answer: " + r.text) for r in sights]
    found = audit_records(given, closed_set=True).findings
    assert {leak.parts for leak in found} == {("train", "train"), ("val", "val"), ("test", "test")}


def test_a_closed_set_is_all_known_to_training():
    records = categories()
    records[-1] = replace(records[-1], text="a shoe")
    (leak,) = audit_records(records, closed_set=True).findings
    assert leak.kind == "closed"
    assert leak.examples == (("train", "test-2", "a shoe"),)
    with pytest.raises(LeakError) as refusal:
        audit_records(records, closed_set=True).check()
    assert str(refusal.value) == (
        "audit: split must have no leak, got a text outside the declared closed set in test "
        "(1 of 3 test samples), e.g. test-2 'a shoe'. A closed set is the texts of training: split "
        "so that training has every text, or prepare the store without --closed-set "
        "(closed_set=False)."
    )


def test_scans_still_count_in_a_closed_set():
    with pytest.raises(LeakError, match="identical scans"):
        audit_records(categories(scans=("same",)), closed_set=True).check()


def test_adaptation_sees_no_texts_and_nothing_that_is_scored():
    adapt = sample("adapt", text=SENTENCES["test"], subject="person test", stimulus="clip test")
    records = [*samples(), adapt]
    memory = FitScope("memory", ("adapt",), unlabelled=True)
    assert audit_records(records, fits=[memory]).clean
    (leak,) = audit_records(records, fits=[FitScope("scaler", ("train", "adapt"))]).findings
    assert (leak.kind, leak.parts) == ("fit", ("train", "adapt"))
    (leak,) = audit_records([*samples(), replace(adapt, scans=("test-1",))]).findings
    assert (leak.kind, leak.parts) == ("scan", ("adapt", "test"))


def test_fits_that_come_later():
    audit = audit_records(samples(), fits=[FitScope("scaler", ("train",))])
    more = audit.with_fits([FitScope("codebook", ("train", "val", "unheard of"))])
    assert audit.clean
    assert more.fits == {"scaler": 1, "codebook": 3}
    assert {leak.parts for leak in more.findings} == {("train", "val"), ("train", "unused")}
    with pytest.raises(LeakError, match="codebook and val"):
        more.check()


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        ([], {}, "a training and a test part"),
        ([sample("train"), sample("val")], {}, "got no test"),
        ([*samples(), sample("tset")], {}, "part must be one of"),
        (samples(), {"guard_trs": -1}, "guard_trs must be >= 0"),
        (samples(), {"keys": ("colour",)}, "keys must be among"),
        (samples(frames=-1), {}, "frames must be >= 0"),
    ],
)
def test_bad_input(records, options, message):
    with pytest.raises(InputError, match=message):
        audit_records(records, **options)
