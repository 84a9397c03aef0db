"""Urgen's 100 actions: a BIDS folder with 4 people, whatever names their actions."""

from __future__ import annotations

import json

import pytest

from fastbrain import cli
from fastbrain.data import Study, audit_trials, plan_study, split_by
from fastbrain.errors import CohortError


def tree(root, *, people=4, actions=100, task="observe", named="trial_type", timed=True):
    """Events of two runs a person, 50 actions each; everybody sees the same clips."""
    for person in range(1, people + 1):
        for run in (1, 2):
            stem = f"sub-{person:02d}_task-{task}_run-{run}"
            folder = root / f"sub-{person:02d}" / "func"
            folder.mkdir(parents=True, exist_ok=True)
            lines = ["onset\tduration\ttrial_type\tstim_file"]
            for k in range((run - 1) * actions // 2, run * actions // 2):
                action = f"action_{chr(97 + k // 26)}{chr(97 + k % 26)}"
                kind, clip = action, f"{action}_1.mp4"
                if named == "folder":
                    kind, clip = str(k), f"{action}/one.mp4"
                elif named == "file":
                    kind = "n/a"
                elif named == "nothing":
                    kind, clip = str(k), f"{k}.mp4"
                lines.append(f"{6.0 * (k % (actions // 2))}\t2.5\t{kind}\t{clip}")
            (folder / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            clock = {"VolumeTiming": [2.0 * v for v in range(170)]} if timed else {}
            (folder / f"{stem}_bold.json").write_text(json.dumps(clock))
    return root


def by_person(trials):
    parts = {"train": ["01", "02"], "val": ["03"], "test": ["04"]}
    return split_by(trials, "subject", **parts, closed_set=True)


@pytest.mark.parametrize("named", ["trial_type", "folder", "file"])
def test_actions_are_named_by_events_or_clips(tmp_path, named):
    study = plan_study(tree(tmp_path / "bids", named=named), "urgen", split=by_person)
    assert len(study.trials) == 400
    assert len({t.category for t in study.trials}) == 100
    assert study.trials[0].category == "action aa"
    assert "doing action aa" in study.trials[0].text
    back = Study.load(study.save(tmp_path / "study"))
    assert back.dataset.page.startswith("https://doi.org/")
    assert "ask the authors" in back.dataset.how_to_fetch(["01"])


def test_the_audit_sees_that_clips_are_shared(tmp_path):
    root = tree(tmp_path / "bids")
    closed = plan_study(root, "urgen", split=by_person)
    audit = audit_trials(closed.trials, closed.split)
    assert audit.clean
    assert {leak.kind for leak in audit.declared} >= {"stimulus", "text"}

    def opened(trials):
        return split_by(trials, "subject", train=["01", "02"], val=["03"], test=["04"])

    study = plan_study(root, "urgen", split=opened)
    leaks = audit_trials(study.trials, study.split)
    assert {leak.kind for leak in leaks.findings} >= {"stimulus", "text"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"actions": 98}, "100 actions, got 4 .* and 98"),
        ({"people": 3}, "4 people and 100 actions, got 3"),
        ({"named": "nothing"}, "name its action"),
        ({"timed": False}, "clock of Urgen"),
    ],
)
def test_another_tree_is_refused_with_what_was_found(tmp_path, options, message):
    with pytest.raises(CohortError, match=message):
        plan_study(tree(tmp_path / "bids", **options), "urgen", split=by_person)


def test_one_task_is_needed(tmp_path):
    root = tree(tmp_path / "bids")
    with pytest.raises(CohortError, match="got none"):
        plan_study(tmp_path / "no", "urgen", split=by_person)
    tree(root, task="localizer")
    with pytest.raises(CohortError, match="got localizer, observe"):
        plan_study(root, "urgen", split=by_person)


def test_the_command_says_what_is_not_known(tmp_path, capsys):
    root = tree(tmp_path / "bids")
    said = ["study", "urgen", str(root), str(tmp_path / "study"), "--split-by", "subject"]
    said += ["--train", "01", "02", "--val", "03", "--test", "04", "--closed-set"]
    assert cli.main(said) == 0
    told = capsys.readouterr()
    assert "layout of the authors is not known" in told.err
    assert "on request" in told.err or "ask the authors" in told.err
