"""Windows of trials, and every row that is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastbrain.data import RunRecord, WindowSpec, read_trials
from fastbrain.errors import CohortError, InputError

WINDOW = WindowSpec(delay_s=4.0, window_trs=3)


def run(tmp_path: Path, table: str) -> RunRecord:
    events = tmp_path / "events.tsv"
    events.write_text(table.replace(" ", "\t").replace("+", " "))
    return RunRecord("sub-1_run-1", "1", "", "1", tmp_path / "b.nii", events, root=tmp_path)


def trials(tmp_path, table, *, window=WINDOW, tr=2.0, n_volumes=20, ignore=()):
    return read_trials(run(tmp_path, table), window, tr=tr, n_volumes=n_volumes, ignore=ignore)


HEAD = "onset duration trial_type text\n"


@pytest.mark.parametrize(
    ("onset", "tr", "window", "start"),
    [
        (0.0, 2.0, WindowSpec(4.0, 3), 2),
        (0.9, 2.0, WindowSpec(4.0, 3), 2),
        (1.1, 2.0, WindowSpec(4.0, 3), 3),
        (0.0, 2.0, WindowSpec(4.0, 3, onset_offset_s=12.0), 8),
        (10.0, 2.5, WindowSpec(-5.0, 3), 2),
        (7.2, 0.72, WindowSpec(4.32, 3), 16),
    ],
)
def test_start(tmp_path, onset, tr, window, start):
    (trial,) = trials(tmp_path, HEAD + f"{onset} 2.0 x hello\n", window=window, tr=tr)
    assert (trial.start, trial.frames) == (start, 3)


def test_trials_that_leave_the_run_are_left_out_by_choice(tmp_path):
    table = HEAD + "-6 2 x early\n4 2 x inside\n31 2 x late\n"
    dropped: list[str] = []
    found = read_trials(run(tmp_path, table), WINDOW, tr=2.0, n_volumes=20, dropped=dropped)
    assert [t.text for t in found] == ["inside"]
    # numbers stay those of the rows
    assert found[0].trial_id.endswith("trial-002")
    assert [name.rpartition(", ")[2] for name in dropped] == ["trial 1", "trial 3"]
    with pytest.raises(CohortError, match="--late drop"):
        trials(tmp_path, table)
    # all other mistakes stay errors, and a run needs a trial
    for row, told in (("x 2 x t", "onset"), ("31 2 x t", "at least one trial")):
        with pytest.raises(CohortError, match=told):
            read_trials(run(tmp_path, HEAD + row), WINDOW, tr=2.0, n_volumes=20, dropped=dropped)


def test_guard_covers_window_and_delay():
    assert WindowSpec(4.0, 3).guard_trs(2.0) == 5
    assert WindowSpec(5.0, 9).guard_trs(2.5) == 11
    assert WindowSpec(-4.0, 3).guard_trs(2.0) == 3


def test_fields(tmp_path):
    table = (
        "onset duration trial_type stim_file stimulus category text story\n"
        "0 2 runs a/b.mp4 clip-7 motion a+dog+runs pieman\n"
        "4 n/a jumps n/a n/a n/a a+cat n/a\n"
    )
    first, second = trials(tmp_path, table)
    assert (first.text, first.category, first.stimulus) == ("a dog runs", "motion", "clip-7")
    assert (first.clip, first.trial_id) == ("stimuli/a/b.mp4", "sub-1_run-1_trial-001")
    assert (second.category, second.stimulus, second.clip) == ("jumps", "", "")
    assert second.duration == 0.0
    assert (first.story, second.story) == ("pieman", "")
    (named,) = trials(tmp_path, "onset duration text passage\n0 2 a+dog 17\n")
    assert named.story == "17"


def test_trial_type_is_the_text_where_there_is_no_other(tmp_path):
    (trial,) = trials(tmp_path, "onset duration trial_type\n0 2 house\n")
    assert trial.text == trial.category == "house"


def test_rows_are_left_out_only_when_asked(tmp_path):
    table = HEAD + "0 2 face a+face\n4 2 rest n/a\n"
    with pytest.raises(CohortError, match="trial 2 must have a text"):
        trials(tmp_path, table)
    assert len(trials(tmp_path, table, ignore=("rest",))) == 1
    with pytest.raises(CohortError, match="at least one trial"):
        trials(tmp_path, table, ignore=("rest", "face"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("soon 2 x t", "onset must be a number"),
        ("1,5 2 x t", "decimal comma"),
        ("N/A 2 x t", "BIDS writes n/a"),
        ("0 1_0 x t", "duration must be a number"),
        ("0 2 x N/A", "text must be n/a"),
        ("0 2 x NA", "text must be n/a"),
        ("0 2 x None", "text must be n/a"),
        ("0 2000 x t", "duration must be at most the run's 40 s, got 2000.*milliseconds"),
        ("1e308 2 x t", "inside the run"),
        ("nan 2 x t", "onset must be a number"),
        ("n/a 2 x t", "must have an onset"),
        ("0 -2 x t", "duration must be >= 0"),
        ("-6 2 x t", "inside the run"),
        ("31 2 x t", "inside the run"),
        ("1e300 2 x t", "inside the run"),
        ("0 2 x n/a", "must have a text"),
        ("0 2 x", "4 cells"),
    ],
)
def test_refused_rows_name_file_and_row(tmp_path, row, message):
    with pytest.raises(CohortError, match=message) as caught:
        trials(tmp_path, HEAD + row + "\n")
    assert "events.tsv" in str(caught.value)


def test_rows_are_named_by_their_line(tmp_path):
    with pytest.raises(CohortError, match=r"events\.tsv line 5, trial 2 onset must be a number"):
        trials(tmp_path, HEAD + "\n0 2 x t\n\nsoon 2 x t\n")


def test_the_clock_of_a_run_that_begins_later(tmp_path):
    record = replace(run(tmp_path, HEAD + "10 2 x t\n"), start_time=1.5)
    (trial,) = read_trials(record, WINDOW, tr=2.0, n_volumes=20)
    # volumes lie at 1.5, 3.5 ... 13.5 s, and 14 s is asked for
    assert (trial.start, trial.onset) == (6, 10.0)


def test_a_stimulus_behind_a_link_that_leads_out(tmp_path):
    (tmp_path / "in" / "stimuli").mkdir(parents=True)
    (tmp_path / "x.mp4").touch()
    (tmp_path / "in" / "stimuli" / "x.mp4").symlink_to(tmp_path / "x.mp4")
    with pytest.raises(CohortError, match=r"got a link to .*x\.mp4.*below stimuli/"):
        trials(tmp_path / "in", "onset duration stim_file text\n0 2 x.mp4 t\n")


def test_last_window_that_fits(tmp_path):
    (trial,) = trials(tmp_path, HEAD + "30 2 x t\n")
    assert trial.start + trial.frames == 20


@pytest.mark.parametrize("columns", ["onset text", "duration text", "onset duration"])
def test_missing_columns(tmp_path, columns):
    with pytest.raises(CohortError, match="must have the columns"):
        trials(tmp_path, columns + "\n" + "1 " * (len(columns.split()) - 1) + "1\n")


def test_stimulus_outside_the_cohort_is_refused(tmp_path):
    with pytest.raises(CohortError, match="must stay inside"):
        trials(tmp_path, "onset duration stim_file text\n0 2 ../../../x.mp4 t\n")


@pytest.mark.parametrize(("delay", "n"), [(4.0, 0), (float("nan"), 3), (float("inf"), 3)])
def test_impossible_windows(delay, n):
    with pytest.raises(InputError, match="WindowSpec"):
        WindowSpec(delay, n)
