"""A session as a BIDS derivative."""

from __future__ import annotations

import json

import pytest

from fastbrain.data.readers.tables import read_tsv
from fastbrain.errors import ConfigError, DiskError, InputError
from fastbrain.realtime.outputs import JsonlLog, write_bids_session
from fastbrain.realtime.session import Measured, Outcome, Record


@pytest.fixture
def log(tmp_path):
    made = JsonlLog(tmp_path / "log.jsonl", run="digest", source="nifti", tr_s=0.8, text=True)
    measured = Measured((0.1, 0.2, 0.3, 0.01, 0.02, 0.03), 0.4, 50.0, True)
    outcome = Outcome(1.0, text="a\tdog\nran", confidence=0.25, measured=measured)
    for index, status, reason, more in (
        (0, "ok", "", {"text": "a\tdog\nran", "text_of": 0, "outcome": outcome, "text_s": 0.2}),
        (2, "late", "too late", {"missed": True, "acquired_s": 1.6}),
        (1, "dropped", "no volume came", {"text_of": 0}),
    ):
        made.write(Record(index, status, reason, **more).to_json(text=True))
    made.write({"type": "mark", "index": 1, "label": "cue on"})
    made.write({"type": "mark", "index": 1, "label": "cue off"})
    made.close()
    return tmp_path / "log.jsonl"


def test_one_row_a_volume_in_order(log, tmp_path):
    table = write_bids_session(log, tmp_path / "out", subject="01", task="rest", run="2")
    name = "sub-01/func/sub-01_task-rest_run-2_desc-live_timeseries.tsv"
    assert table == tmp_path / "out" / name
    _, rows = read_tsv(table)
    assert [row["volume"] for row in rows] == ["0", "1", "2"]
    assert [row["status"] for row in rows] == ["ok", "dropped", "late"]
    assert rows[0]["text"] == "a dog ran"
    assert rows[0]["rot_z"] == "0.03"
    assert rows[0]["spike"] == "1"
    assert rows[1]["onset"] == "0.8"
    assert rows[1]["marks"] == "cue on | cue off"
    assert rows[1]["confidence"] == "n/a"
    assert rows[2]["missed"] == "1"


def test_the_sidecar_describes_every_column(log, tmp_path):
    table = write_bids_session(log, tmp_path / "out", subject="01", task="rest", session="a")
    sidecar = json.loads(table.with_suffix(".json").read_text())
    columns = table.read_text().splitlines()[0].split("\t")
    assert all(sidecar[column]["Description"] for column in columns)
    assert sidecar["RepetitionTime"] == 0.8
    assert sidecar["DecoderDigest"] == "digest"
    described = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "fastbrain live"


def test_a_second_session_joins_the_dataset(log, tmp_path):
    for run in ("1", "2"):
        write_bids_session(log, tmp_path / "out", subject="01", task="rest", run=run)
    assert len(list((tmp_path / "out").rglob("*.tsv"))) == 2


def test_a_folder_that_cannot_be_made_is_an_error_of_the_disk(log, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError):
        write_bids_session(log, tmp_path / "file" / "out", subject="01", task="rest")


def test_a_raw_dataset_is_refused(log, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset_description.json").write_text('{"DatasetType": "raw"}')
    with pytest.raises(ConfigError, match="derivative"):
        write_bids_session(log, tmp_path / "out", subject="01", task="rest")


@pytest.mark.parametrize("label", ["", "a b", "../x", "sub-01", "é"])
@pytest.mark.parametrize("key", ["subject", "task"])
def test_labels_are_letters_and_digits(log, tmp_path, key, label):
    with pytest.raises(InputError, match="letters and digits"):
        write_bids_session(log, tmp_path / "out", **({"subject": "1", "task": "a"} | {key: label}))
    assert not (tmp_path / "out").exists()


def test_the_repetition_time_may_be_known_at_the_end_only(tmp_path):
    log = JsonlLog(tmp_path / "log.jsonl", run=None, source="dicom", tr_s=None)
    log.write(Record(3, "ok").to_json(text=True))
    log.write({"type": "end", "reason": "idle", "tr_s": 0.5, "counters": {}})
    log.close()
    table = write_bids_session(tmp_path / "log.jsonl", tmp_path / "out", subject="01", task="x")
    _, rows = read_tsv(table)
    assert rows[0]["onset"] == "1.5"
    assert json.loads(table.with_suffix(".json").read_text())["RepetitionTime"] == 0.5


def test_damaged_lines_are_left_out(log, tmp_path):
    with log.open("a") as file:
        file.write('{"type": "mark"}\n{"type": "record", "index": 5}\nno json\n')
    table = write_bids_session(log, tmp_path / "out", subject="01", task="rest")
    _, rows = read_tsv(table)
    assert [row["volume"] for row in rows] == ["0", "1", "2"]


def test_a_log_without_an_end_has_onsets_by_the_first_volume(tmp_path):
    log = JsonlLog(tmp_path / "log.jsonl", run=None, source="nifti")
    log.write({"type": "tr", "at_s": 0.1, "tr_s": 1.5})
    for index in range(2):
        log.write(Record(index, "ok", "").to_json(text=True))
    log.close()
    table = write_bids_session(tmp_path / "log.jsonl", tmp_path / "out", subject="01", task="rest")
    _, rows = read_tsv(table)
    assert [row["onset"] for row in rows] == ["0.0", "1.5"]
    assert json.loads(table.with_suffix(".json").read_text())["RepetitionTime"] == 1.5
