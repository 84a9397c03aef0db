"""One dialect for every table: quotes, line ends, encodings, numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbrain.data import captions_from_tsv, read_resting, read_trials, read_words
from fastbrain.data.readers.runs_table import RunRecord, read_runs_table, write_runs_table
from fastbrain.data.readers.tables import given, number_of, read_csv, read_lines, read_tsv, tsv_text
from fastbrain.data.readers.trial_windows import WindowSpec
from fastbrain.errors import CohortError, InputError

QUOTES = [
    ('"say ""hi"""', 'say "hi"'),
    ('"plain"', "plain"),
    ('""', ""),
    ('"Oh', '"Oh'),
    ('dear"', 'dear"'),
    ('"a" and "b"', '"a" and "b"'),
    ('he said "no"', 'he said "no"'),
    ('5" wide', '5" wide'),
    ('"', '"'),
    ('"""', '"""'),
]


@pytest.mark.parametrize(("cell", "text"), QUOTES)
@pytest.mark.parametrize(("read", "comma"), [(read_tsv, "\t"), (read_csv, ",")])
def test_only_whole_and_proper_quotes_are_taken_off(tmp_path, read, comma, cell, text):
    path = tmp_path / "t"
    path.write_text(f"a{comma}b{comma}c\n1{comma}{cell}{comma}2\n3{comma}x{comma}4\n")
    _, rows = read(path)
    assert rows == [{"a": "1", "b": text, "c": "2"}, {"a": "3", "b": "x", "c": "4"}]


def test_separators_within_quotes(tmp_path):
    path = tmp_path / "t"
    path.write_text('a,b\n"x, y", "z"\n"oh, no\n')
    _, rows = read_csv(path)
    assert rows == [{"a": "x, y", "b": "z"}, {"a": '"oh', "b": "no"}]
    path.write_text('a\tb\n"x\ty"\n')
    assert read_tsv(path)[1] == [{"a": '"x', "b": 'y"'}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_end_at_line_ends_alone(tmp_path, end):
    odd = "a\u2028b\x0bc\x0cd\x1ce\x85f"
    path = tmp_path / "t.tsv"
    path.write_bytes(end.join(["x\ty", f"{odd}\t1", "", "  \t ", "q\t2", ""]).encode())
    columns, rows = read_tsv(path)
    assert columns == ["x", "y"]
    assert [row["x"] for row in rows] == [odd, "q"]
    # blank lines count, so that an editor finds the row
    assert [row.line for row in rows] == [2, 5]
    assert rows[1].where == f"{path} line 5"
    path.write_bytes(end.join([odd, "", "q", ""]).encode())
    assert read_lines(path) == [odd, "", "q"]


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig"])
def test_utf8_with_and_without_mark(tmp_path, coding):
    (tmp_path / "t.tsv").write_text("größe\tx\n1\té\n", encoding=coding)
    assert read_tsv(tmp_path / "t.tsv")[1] == [{"größe": "1", "x": "é"}]


@pytest.mark.parametrize(
    ("coding", "message"),
    [
        ("utf-16", r"UTF-16\. Save it as UTF-8"),
        ("utf-16-le", r"zero byte\. If it is UTF-16"),
        ("latin-1", "line 3 must be UTF-8 text, got the byte 0xe9"),
    ],
)
def test_other_encodings_are_named(tmp_path, coding, message):
    (tmp_path / "t.tsv").write_bytes("x\ty\n1\t2\né\t3\n".encode(coding))
    with pytest.raises(CohortError, match=message):
        read_tsv(tmp_path / "t.tsv")


def test_a_file_too_large_for_a_table(tmp_path):
    path = tmp_path / "t.tsv"
    with open(path, "wb") as file:
        file.truncate((64 << 20) + (1 << 20))
    with pytest.raises(CohortError, match="at most 64 MiB, got 65"):
        read_tsv(path)


@pytest.mark.parametrize("kind", ["link", "pointer"])
def test_what_was_not_fetched_is_said(tmp_path, kind):
    path = tmp_path / "t.tsv"
    if kind == "link":
        path.symlink_to(".git/annex/objects/x")
    else:
        path.write_text("/annex/objects/MD5E-s12--0.tsv\n")
    for read in (read_tsv, read_lines, read_words):
        with pytest.raises(CohortError, match=r"must have been fetched.*datalad get"):
            read(path)


@pytest.mark.parametrize("text", ["0", "-1.5", "+2.", ".5", "1e3", "2.5E-1"])
def test_numbers(text):
    assert number_of(text, where="x") == float(text)


@pytest.mark.parametrize("text", ["", "n/a"])
def test_missing_numbers(text):
    assert number_of(text, where="x") is None


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1,5", "decimal comma"),
        ("1,000.5", "thousands"),
        ("1.000,5", "thousands"),
        ("1_000", "Replace it"),
        ("N/A", "BIDS writes n/a"),
        ("NaN", "BIDS writes n/a"),
        ("nan", "BIDS writes n/a"),
        ("NULL", "BIDS writes n/a"),
        ("inf", "Replace it"),
        ("1e999", "Replace it"),
        ("٣", "Replace it"),
        ("0x10", "Replace it"),
        ("1 s", "Replace it"),
    ],
)
def test_what_is_no_number(text, hint):
    with pytest.raises(CohortError, match=hint) as caught:
        number_of(text, where="here")
    assert f"here must be a number, got '{text}'" in str(caught.value)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("onset,duration", "commas"),
        ("onset, trial type", "commas"),
        ("a;b", "semicolons"),
        ("a|b", "vertical bars"),
        ("a  b", "spaces"),
        ("a b", "spaces"),
        ('"a,b"', "commas"),
        ("a\xa0b", "spaces"),
    ],
)
def test_a_table_with_other_separators_is_named(tmp_path, header, name):
    (tmp_path / "t.tsv").write_text(f"{header}\n1\n")
    with pytest.raises(CohortError, match="separated by tabs") as caught:
        read_tsv(tmp_path / "t.tsv")
    said = str(caught.value)
    assert f"got {name} in the header '{header.strip(chr(34))}'" in said
    assert said.endswith(f"Save it with tabs in place of {name}.")


def test_tabs_in_a_table_of_commas_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("a\tb c\n1\t2\n")
    with pytest.raises(CohortError, match="separated by commas, got tabs"):
        read_csv(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "blank", ["\xa0", "\u2007", "\u200b", "\u202f", "\u3000", "\ufeff", "\u200e", "\xad"]
)
@pytest.mark.parametrize("header", ["family{}\tb", '"family{}"\tb', "{}family\t{}b"])
def test_unseen_blanks_are_taken_off(tmp_path, header, blank):
    (tmp_path / "t.tsv").write_text(f"{header.replace('{}', blank)}\n1{blank}\t2\n", "utf-8")
    columns, rows = read_tsv(tmp_path / "t.tsv")
    assert (columns, rows) == (["family", "b"], [{"family": "1", "b": "2"}])


def test_columns_that_differ_by_a_blank_are_one_column_twice(tmp_path):
    (tmp_path / "t.tsv").write_text("family\tfamily\u200b\n1\t2\n", encoding="utf-8")
    with pytest.raises(CohortError, match="name each column once"):
        read_tsv(tmp_path / "t.tsv")


@pytest.mark.parametrize("word", ["NA", "nan", "NULL", "None"])
def test_what_is_also_a_word(word):
    assert given({"a": word}, "a", spoken=True) == word
    with pytest.raises(CohortError, match="must be n/a"):
        given({"a": word}, "a")


@pytest.mark.parametrize("name", ["na", "NAN", "null", "none", "NONE", "N/a", "#n/a"])
def test_no_group_is_named_after_a_missing_value(name):
    with pytest.raises(CohortError, match="must be n/a"):
        given({"a": name}, "a", label=True)
    assert given({"a": "n/a"}, "a", label=True) == ""


@pytest.mark.parametrize("name", ["F\u200e1", "F\u200b1", "F\u20631", "F\xad1"])
def test_no_group_has_a_name_that_cannot_be_read(name):
    with pytest.raises(CohortError, match="no character that cannot be seen, got 'F"):
        given({"a": name}, "a", label=True)
    assert given({"a": name}, "a") == name
    assert given({"a": "Rene\u0301"}, "a", label=True) == given({"a": "Ren\xe9"}, "a", label=True)
    assert given({"a": "F\xa01"}, "a", label=True) == "F 1"


def test_signs_of_other_programs_for_missing_values(tmp_path):
    (tmp_path / "t.tsv").write_text("a\tb\nn/a\tN/A\n")
    _, (row,) = read_tsv(tmp_path / "t.tsv")
    assert given(row, "a") == given(row, "absent") == ""
    with pytest.raises(CohortError, match=r"t\.tsv line 2 b must be n/a"):
        given(row, "b")


@pytest.mark.parametrize("cell", [text for _, text in QUOTES] + ['"say ""hi"""', "é\u2028é"])
def test_what_is_written_is_read_back(tmp_path, cell):
    (tmp_path / "t.tsv").write_text(tsv_text(["a", "b"], [[cell, "1"]]), encoding="utf-8")
    assert read_tsv(tmp_path / "t.tsv")[1] == [{"a": cell, "b": "1"}]


@pytest.mark.parametrize("cell", ["a\tb", "a\nb", "a\rb"])
def test_cells_that_no_table_can_hold(cell):
    with pytest.raises(InputError, match="must not hold a tab or a line end"):
        tsv_text(["a"], [[cell]])


HARD = '"Oh\u2028 "dear'
LABEL = '"Oh "dear'


def test_every_reader_has_this_dialect(tmp_path):
    """A cell with an open quote and a line separator: no row is lost, no text changed."""
    (tmp_path / "b.nii").touch()
    events = tmp_path / "e.tsv"
    events.write_text(f'onset\tduration\ttext\n0\t1\t{HARD}\n2\t1\t"say ""hi"""\n', "utf-8")
    run = RunRecord("sub-1_run-1", "1", "", "1", tmp_path / "b.nii", events, root=tmp_path)
    trials = read_trials(run, WindowSpec(0.0, 1), tr=1.0, n_volumes=9)
    assert [t.text for t in trials] == [HARD, 'say "hi"']
    assert [w.text for w in read_words(events, column="text")] == [HARD, 'say "hi"']

    captions = tmp_path / "c.tsv"
    captions.write_text(f"stimulus\tcaption\na\t{HARD}\nb\tfine\n", "utf-8")
    assert captions_from_tsv(captions) == {"a": (HARD,), "b": ("fine",)}

    table = tmp_path / "runs.tsv"
    table.write_text(f"subject\trun\tbold\tevents\tfamily\n1\t1\tb.nii\te.tsv\t{LABEL}\n", "utf-8")
    (record,) = read_runs_table(table)
    assert record.family == LABEL
    write_runs_table(tmp_path / "again.tsv", [record])
    assert read_runs_table(tmp_path / "again.tsv", allow_outside=True) == (record,)

    (tmp_path / "series").mkdir()
    for person in "ab":
        np.save(tmp_path / "series" / f"{person}.npy", np.ones((2, 9)))
    (tmp_path / "study.json").write_text(json.dumps({"tr": 2.0, "regions": ["x", "y"]}))
    (tmp_path / "participants.tsv").write_text(
        f"participant_id\tnote\na\t{HARD}\nb\tfine\n", "utf-8"
    )
    study = read_resting(tmp_path)
    assert study.table == {"a": {"note": HARD}, "b": {"note": "fine"}}


def test_real_tables_are_read(real_data):
    tables = [path for path in sorted(real_data.rglob("*.tsv")) if path.is_file()]
    assert len(tables) > 200
    for path in tables:
        columns, rows = read_tsv(path)
        assert columns
        assert all(row.line > 1 for row in rows)
