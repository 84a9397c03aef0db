"""Instructions and prompts of trials: events, runs tables, sidecars, and columns left unused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fastbrain.data import RunRecord, WindowSpec, read_runs_table, read_trials, write_runs_table
from fastbrain.data.readers.columns import suggestions, tell_unused, unused_columns
from fastbrain.data.readers.prompts import has_prompts, last_words, texts_before
from fastbrain.data.readers.sidecars import read_sidecar
from fastbrain.data.readers.tree import Tree
from fastbrain.errors import CohortError, InputError

HEAD = "onset|duration|text|instruction|prompt"
WINDOW = WindowSpec(delay_s=4.0, window_trs=3)


def trials(tmp_path: Path, lines: list[str], **run: str):
    events = tmp_path / "events.tsv"
    events.write_text("\n".join(line.replace("|", "\t") for line in lines) + "\n")
    record = RunRecord("sub-1_run-1", "1", "", "1", tmp_path / "b.nii", events, root=tmp_path)
    return read_trials(replace(record, **run), WINDOW, tr=2.0, n_volumes=20)


def test_events_win_over_the_run(tmp_path):
    found = trials(
        tmp_path,
        [
            "onset|duration|text|instruction|prompt",
            "2|1|a ball|what is it ?|he saw",
            "4|1|a cup|n/a|",
        ],
        instruction="what is there ?",
        prompt="and then",
    )
    assert [t.instruction for t in found] == ["what is it ?", "what is there ?"]
    assert [t.prompt for t in found] == ["he saw", "and then"]
    bare = trials(tmp_path, ["onset|duration|text", "2|1|a ball"])
    assert (bare[0].instruction, bare[0].prompt) == ("", "")


def test_runs_tables_keep_both_columns(tmp_path):
    for name in ("bold.nii", "events.tsv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "runs.tsv").write_text(
        "subject\trun\tbold\tevents\tinstruction\tprompt\n"
        "01\t1\tbold.nii\tevents.tsv\twhat is it ?\tn/a\n"
    )
    (run,) = read_runs_table(tmp_path / "runs.tsv")
    assert (run.instruction, run.prompt) == ("what is it ?", "")
    again = write_runs_table(tmp_path / "copy.tsv", [replace(run, prompt="once there was")])
    (copy,) = read_runs_table(again, allow_outside=True)
    assert (copy.instruction, copy.prompt) == ("what is it ?", "once there was")
    (tmp_path / "runs.tsv").write_text("subject\trun\tbold\tevents\tpromt\n")
    with pytest.raises(CohortError, match=r"unknown column 'promt'\. Did you mean 'prompt'"):
        read_runs_table(tmp_path / "runs.tsv")


def test_sidecars_are_inherited(tmp_path):
    image = tmp_path / "sub-01" / "func" / "sub-01_task-see_run-2_bold.nii.gz"
    image.parent.mkdir(parents=True)
    (tmp_path / "task-see_bold.json").write_text(
        json.dumps({"instruction": "what  is it ?", "prompt": "n/a", "Instructions": "Lie still."})
    )
    tags = {"sub": "01", "task": "see", "run": "2"}
    sidecar = read_sidecar(Tree(tmp_path), image, tags)
    assert sidecar.words("instruction") == "what is it ?"
    assert sidecar.words("prompt") == ""
    near = image.parent / "sub-01_task-see_run-2_bold.json"
    near.write_text(json.dumps({"instruction": "where is it ?"}))
    assert read_sidecar(Tree(tmp_path), image, tags).words("instruction") == "where is it ?"
    near.write_text(json.dumps({"instruction": ["where"]}))
    with pytest.raises(CohortError, match=r"instruction in .*must be a text"):
        read_sidecar(Tree(tmp_path), image, tags).words("instruction")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["onset", "duration", "text"], []),
        (["onset", "response_time", "HED", "value", "sample", "channel", "text"], []),
        (["text", "instructions"], ["instructions (did you mean 'instruction'?)"]),
        (["text", "promt"], ["promt (did you mean 'prompt'?)"]),
        (["Text"], ["Text (did you mean 'text'?)"]),
        (["text", "stimuli"], ["stimuli (did you mean 'stimulus'?)"]),
        # the column of that name is there too
        (["text", "Text"], ["Text"]),
        (["text", "trial", "accuracy"], ["trial", "accuracy"]),
    ],
)
def test_unused_columns_are_named(columns, expected):
    assert unused_columns(columns) == expected


def test_a_misspelt_text_column_is_suggested(tmp_path):
    assert suggestions(["onset", "duration", "accuracy"]) == ""
    with pytest.raises(CohortError, match=r"got onset, duration, Text. Did you mean 'text' by 'Te"):
        trials(tmp_path, ["onset|duration|Text", "2|1|a ball"])


def test_unused_columns_are_told_in_one_line(capsys):
    tell_unused(Counter(), 3)
    assert capsys.readouterr() == ("", "")
    tell_unused(Counter({"accuracy": 3, "promt (did you mean 'prompt'?)": 1}), 3)
    captured = capsys.readouterr()
    assert (captured.out + captured.err).splitlines() == [
        "note: columns of the events not used: accuracy, promt (did you mean 'prompt'?) in 1 of 3 "
        "tables"
    ]


@pytest.mark.parametrize(
    ("count", "expected"), [(None, "a b  c d"), (0, ""), (1, "d"), (3, "b c d"), (9, "a b c d")]
)
def test_last_words(count, expected):
    assert last_words(" a b  c d ", count) == " ".join(expected.split())


def test_texts_before(tmp_path):
    found = trials(
        tmp_path,
        [
            "onset|duration|text|instruction|prompt",
            "2|1|a ball|what is it ?|he saw it",
            "4|1|x|why ?|",
        ],
    )
    assert has_prompts(found)
    assert not has_prompts(found[1:])
    assert texts_before(found, "prompt", 2) == ("saw it", "")
    assert texts_before(found, "instruction", 2) == ("what is it ?", "why ?")
    with pytest.raises(InputError, match="before must be one of"):
        texts_before(found, "text")
