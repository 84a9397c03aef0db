"""The log of a session: whole lines, continued numbers, nothing private."""

from __future__ import annotations

import json

import pytest

from fastbrain.errors import ConfigError, DiskError
from fastbrain.realtime.outputs import JsonlLog, read_session_log
from fastbrain.realtime.session import Outcome, Record

FACTS = {"run": "digest", "source": "dicom", "tr_s": 0.8}


def record(index, **values):
    done = Outcome(0.0, text="secret words", ranked=(("a phrase", 0.5),))
    made = Record(index, "ok", text="secret words", text_of=index, outcome=done, **values)
    return made.to_json(text=True)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, *indices, **options):
    log = JsonlLog(path, **(FACTS | options))
    for index in indices:
        log.write(record(index))
    log.close()
    return log


def test_the_header_comes_first_and_names_no_person(tmp_path):
    write(tmp_path / "log.jsonl", 0, 1)
    header, *records = lines(tmp_path / "log.jsonl")
    assert header == {
        "type": "header", "schema": 1, "run": "digest", "source": "dicom", "tr_s": 0.8,
        "deadline_s": None, "text": False,
    }  # fmt: skip
    assert [row["index"] for row in records] == [0, 1]


@pytest.mark.parametrize("text", [False, True])
def test_text_is_written_on_request_alone(tmp_path, text):
    write(tmp_path / "log.jsonl", 0, text=text)
    content = (tmp_path / "log.jsonl").read_text()
    assert ("secret words" in content) == text
    assert ("a phrase" in content) == text


def test_words_and_texts_are_no_records(tmp_path):
    log = JsonlLog(tmp_path / "log.jsonl", **FACTS)
    for kind in ("word", "text", "control"):
        log.write({"type": kind, "index": 0, "text": "secret"})
    log.write({"type": "mark", "index": 0, "label": "cue"})
    log.close()
    assert [row["type"] for row in lines(tmp_path / "log.jsonl")] == ["header", "mark"]


@pytest.mark.parametrize("torn", [b"", b'{"type": "rec', b"\xff\xfe", b'{"type": "record"}'])
def test_a_second_session_goes_on(tmp_path, torn):
    path = tmp_path / "log.jsonl"
    write(path, 0, 1, 3)
    with path.open("ab") as file:
        file.write(torn)
    log = write(path, 4)
    assert (log.first, log.open_before) == (4, (2,))
    assert [row.get("index") for row in lines(path)] == [None, 0, 1, 3, None, 4]
    assert lines(path)[4] == {"type": "resumed", "first": 4, "text": False}


def test_a_long_log_is_continued_from_its_tail(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, *range(3000), text=True)
    assert path.stat().st_size > 1 << 20
    log = write(path)
    assert (log.first, log.open_before) == (3000, ())


def test_an_empty_log_is_new(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"")
    assert write(path, 0).first == 0


@pytest.mark.parametrize(
    ("other", "named"),
    [({"run": "another"}, "run"), ({"tr_s": 2.0}, "tr_s"), ({"run": None}, "run")],
)
def test_the_log_of_another_run_is_refused(tmp_path, other, named):
    write(tmp_path / "log.jsonl", 0)
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=rf"of the same run, got another {named}\."):
        write(tmp_path / "log.jsonl", **other)
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", ["hello\n", "hello", '{"a": 1}\n', "[]\n", "\0" * 100, "\n"])
def test_another_file_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match="log of a session"):
        write(path)
    assert path.read_text() == content
    with pytest.raises(ConfigError, match="log of a session"):
        read_session_log(path)


def test_two_sessions_cannot_write_one_log(tmp_path):
    log = JsonlLog(tmp_path / "log.jsonl", **FACTS)
    with pytest.raises(DiskError, match="one session"):
        JsonlLog(tmp_path / "log.jsonl", **FACTS)
    log.close()
    write(tmp_path / "log.jsonl")


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="must be writable"):
        JsonlLog(tmp_path / "file" / "log.jsonl", **FACTS)


DAMAGED = (
    '{"type": "record", "index": "3", "status": "ok"}',
    '{"type": "record", "index": true, "status": "ok"}',
    '{"type": "record", "index": 7}',
    '{"type": "mark"}',
    '{"type": "resumed"}',
    '{"index": 7}',
    "[]",
    "no json \0",
)


@pytest.mark.parametrize("line", DAMAGED)
def test_a_damaged_line_costs_no_other(tmp_path, line):
    path = tmp_path / "log.jsonl"
    write(path)
    with path.open("a") as file:
        file.write(line + "\n")
    assert write(path, 0, 1).first == 0
    _, rows = read_session_log(path)
    assert [row["index"] for row in rows if row["type"] == "record"] == [0, 1]
    assert not [row for row in rows if row["type"] == "mark"]
