"""Runs and trials as an events table of pandas, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastbrain.data import RunRecord, Trial, WindowSpec, events_from_frame, events_to_frame
from fastbrain.errors import CohortError, InputError

pd = pytest.importorskip("pandas")

RUNS = (
    RunRecord(
        "sub-01_ses-a_run-01", "01", "a", "01", Path("sub-01_task-x_bold.nii.gz"), Path("e.tsv"),
        mask=Path("m.nii.gz"), tr=1.5, start_time=0.75, n_volumes=101, family="f1", space="MNI",
    ),
    RunRecord("sub-02_run-1", "02", "", "1", Path("b.nii"), None, tr=0.7, root=Path("cohort")),
)  # fmt: skip
TRIALS = (
    Trial(
        "t1", RUNS[0].run_id, "01", "a", "01", 3.1, 2.0, 5, 4, "s1", "a dog runs", "animals",
        "s1.mp4", 6, "story", "f1", "", "What happens?", "before",
    ),
    Trial("t2", RUNS[0].run_id, "01", "a", "01", 9.0, 0.0, 9, 4, "s2", "a cat", clip="s2.JPG"),
    Trial("t3", RUNS[1].run_id, "02", "", "1", 1.0, 1.0, 3, 2, "", "n o"),
)  # fmt: skip


def test_round_trip():
    frame = events_to_frame(RUNS, TRIALS)
    assert list(frame["type"]) == ["Fmri", "Video", "Image", "Fmri", "Stimulus"]
    assert frame["timeline"].nunique() == 2
    assert frame["duration"][0] == pytest.approx(151.5)
    assert frame["frequency"][3] == pytest.approx(1 / 0.7)
    assert events_from_frame(frame) == (RUNS, TRIALS)
    assert events_from_frame(events_to_frame(RUNS)) == (RUNS, ())


@pytest.mark.parametrize("kind", ["object", "string", "csv"])
def test_round_trip_of_other_types_of_columns(kind, tmp_path):
    frame = events_to_frame(RUNS, TRIALS)
    if kind == "csv":
        frame.to_csv(tmp_path / "events.csv", index=False)
        frame = pd.read_csv(tmp_path / "events.csv", dtype={"subject": str, "run": str})
    else:
        frame = frame.convert_dtypes() if kind == "string" else frame.astype(object)
    assert events_from_frame(frame) == (RUNS, TRIALS)


def neuralset():
    """A table as NeuralSet makes them: no windows, words beside sentences."""
    rows = [
        {"type": "Fmri", "start": 0.0, "duration": 100.0, "frequency": 0.5, "filepath": "a.nii"},
        {"type": "Word", "start": 4.2, "duration": 0.3, "text": "hello"},
        {"type": "Sentence", "start": 4.2, "duration": 2.0, "text": "hello  there"},
        {"type": "Audio", "start": 0.0, "duration": 90.0, "filepath": "a.wav"},
    ]
    return pd.DataFrame([{"timeline": "sub-01/run 2", "subject": "sub-01", **row} for row in rows])


def test_a_table_of_neuralset_with_windows_of_ours():
    runs, trials = events_from_frame(
        neuralset(), window=WindowSpec(4.0, 3), types=["Sentence"], root="cohort"
    )
    assert (runs[0].tr, runs[0].n_volumes, runs[0].subject, runs[0].run) == (2.0, 50, "01", "1")
    assert (runs[0].run_id, runs[0].root) == ("sub-01-run-2", Path("cohort"))
    # 4.2 s + 4 s of delay lies in the volume that begins at 8 s
    assert (trials[0].start, trials[0].frames, trials[0].text) == (4, 3, "hello there")


def test_what_is_missing_is_named():
    frame = neuralset()
    with pytest.raises(CohortError, match="must have first_volume and volumes"):
        events_from_frame(frame, types=["Word"])
    with pytest.raises(CohortError, match=r"row 3 \(Audio.*must have a text"):
        events_from_frame(frame, window=WindowSpec(4.0, 3))
    with pytest.raises(CohortError, match="must have the columns timeline, got type"):
        events_from_frame(frame[["type", "start", "duration", "subject", "filepath"]])
    with pytest.raises(CohortError, match="must have a recording on its timeline"):
        events_from_frame(frame[1:], window=WindowSpec(4.0, 3))
    with pytest.raises(CohortError, match="must have one row of type Fmri, got two"):
        events_from_frame(pd.concat([frame, frame[:1]]))
    with pytest.raises(CohortError, match="must have a frequency"):
        events_from_frame(
            frame.drop(columns="frequency"), window=WindowSpec(4.0, 3), types=["Word"]
        )
    with pytest.raises(CohortError, match="types must occur in the frame, got Words"):
        events_from_frame(frame, window=WindowSpec(4.0, 3), types=["Words"])
    for column, value, message in (
        ("start", "soon", r"start of .* must be a finite number, got 'soon'"),
        ("duration", float("inf"), "duration of .* must be a finite number, got inf"),
        ("frequency", -0.5, "must be above 0 s, got -2 s"),
    ):
        wrong = frame.astype({column: object})
        wrong.loc[0 if column == "frequency" else 1, column] = value
        with pytest.raises(CohortError, match=message):
            events_from_frame(wrong, window=WindowSpec(4.0, 3), types=["Word"])
    with pytest.raises(InputError, match=r"must be a pandas\.DataFrame, got list"):
        events_from_frame([1])
    with pytest.raises(CohortError, match="trials must be of the runs"):
        events_to_frame(RUNS[1:], TRIALS)
