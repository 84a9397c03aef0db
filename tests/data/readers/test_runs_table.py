"""The runs table: what it accepts and how it says no."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastbrain.data import RunRecord, read_runs_table
from fastbrain.errors import CohortError


def table(tmp_path: Path, text: str, files: str = "b.nii e.tsv m.nii") -> Path:
    for name in files.split():
        (tmp_path / name).write_text("x")
    (tmp_path / "runs.tsv").write_text(text.replace(" ", "\t"))
    return tmp_path / "runs.tsv"


def test_reads_all_columns(tmp_path):
    (tmp_path / "c.nii").touch()
    path = table(
        tmp_path,
        "subject session run bold events mask tr family site\n"
        "sub-01 ses-a run-1 b.nii e.tsv m.nii 2.5 f1 Paris\n"
        "02 n/a 1 c.nii e.tsv n/a n/a n/a n/a\n",
    )
    one, two = read_runs_table(path)
    assert (one.run_id, one.session, one.tr) == ("sub-01_ses-a_run-1", "a", 2.5)
    assert one.mask == tmp_path.resolve() / "m.nii"
    assert (two.run_id, two.session, two.mask, two.tr) == ("sub-02_run-1", "", None, None)
    assert one.root == tmp_path
    assert (one.family, one.site, two.family, two.site) == ("f1", "Paris", "", "")


def test_optional_columns_may_be_absent(tmp_path):
    (run,) = read_runs_table(table(tmp_path, "subject run bold events\n1 1 b.nii e.tsv\n"))
    assert run.mask is run.confounds is run.tr is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header line"),
        ("subject run bold events\n", "at least one run"),
        ("subject run bold\n1 1 b.nii\n", "none named events"),
        ("subject run bold events masc\n1 1 b.nii e.tsv n/a\n", "Did you mean 'mask'"),
        ("subject run bold events zzzz\n1 1 b.nii e.tsv n/a\n", "Columns are"),
        ("subject run run bold events\n1 1 1 b.nii e.tsv\n", "once"),
        ("subject run bold events\n1 1 b.nii\n", "4 cells, got 3"),
        ("subject run bold events\n1 1 b.nii e.tsv\n1 1 b.nii e.tsv\n", "sub-1_run-1 more than"),
        ("subject run bold events\na/b 1 b.nii e.tsv\n", "letters and digits"),
        ("subject run bold events\n1 .. b.nii e.tsv\n", "letters and digits"),
        ("subject run bold events\n1 1 n/a e.tsv\n", "must name a bold"),
        ("subject run bold events tr\n1 1 b.nii e.tsv fast\n", "number of seconds"),
        ("subject run bold events tr\n1 1 b.nii e.tsv 2,5\n", "line 2 tr .*decimal comma"),
        ("subject run bold events start_time\n1 1 b.nii e.tsv late\n", "start_time must be"),
        ("subject run bold events\nNA 1 b.nii e.tsv\n", "line 2 subject must be n/a"),
        ("subject run bold events site\n1 1 b.nii e.tsv none\n", "line 2 site must be n/a"),
        ("subject run bold events n_volumes\n1 1 b.nii e.tsv 2.5\n", "n_volumes must be a whole"),
        ("subject run bold events n_volumes\n1 1 b.nii e.tsv 0\n", "n_volumes must be a whole"),
        ("subject run bold events n_volumes\n1 1 b.nii e.tsv many\n", "a number of volumes"),
        ("subject run bold events family\n1 1 b.nii e.tsv NaN\n", "line 2 family must be n/a"),
        ("subject run bold events\n1 1 ../b.nii e.tsv\n", "allow_outside"),
        ("subject run bold events\n1 1 /etc/b.nii e.tsv\n", "allow_outside"),
    ],
)
def test_refused(tmp_path, text, message):
    with pytest.raises(CohortError, match=message):
        read_runs_table(table(tmp_path, text))


def test_outside_only_when_asked(tmp_path):
    (tmp_path / "in").mkdir()
    table(tmp_path, "")
    text = f"subject run bold events\n1 1 ../b.nii {tmp_path}/e.tsv\n"
    path = table(tmp_path / "in", text)
    (run,) = read_runs_table(path, allow_outside=True)
    assert run.bold.is_file()
    assert run.events == tmp_path / "e.tsv"


def test_link_out_of_the_folder_is_refused(tmp_path):
    outside = tmp_path / "b.nii"
    outside.write_text("x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "l.nii").symlink_to(outside)
    text = "subject run bold events\n1 1 l.nii e.tsv\n"
    with pytest.raises(CohortError, match=r"got a link to .*b\.nii.*allow_outside"):
        read_runs_table(table(tmp_path / "in", text, "e.tsv"))


def test_missing_files_are_counted_in_one_error(tmp_path):
    rows = "".join(f"{i} 1 b{i}.nii e.tsv\n" for i in range(9))
    with pytest.raises(CohortError, match=r"9 that do not exist: .*b0\.nii.* and 4 more"):
        read_runs_table(table(tmp_path, "subject run bold events\n" + rows))


def test_not_text(tmp_path):
    (tmp_path / "runs.tsv").write_bytes(b"\xff\xfe\x00\x80" * 9)
    with pytest.raises(CohortError, match="UTF-16"):
        read_runs_table(tmp_path / "runs.tsv")
    with pytest.raises(CohortError, match=r"none\.tsv must exist, got no such file"):
        read_runs_table(tmp_path / "none.tsv")


def test_one_image_is_one_run(tmp_path):
    (tmp_path / "b.nii").touch()
    (tmp_path / "same.nii").symlink_to(tmp_path / "b.nii")
    text = "subject run bold events\n1 1 b.nii e.tsv\n1 2 same.nii e.tsv\n"
    with pytest.raises(
        CohortError, match=r"an image for each run, got .*same\.nii for sub-1_run-1"
    ):
        read_runs_table(table(tmp_path, text))


@pytest.mark.parametrize(
    "change", [{"run": None}, {"tr": "2"}, {"start_time": float("nan")}, {"n_volumes": 0}], ids=str
)
def test_a_run_by_hand_is_checked(tmp_path, change):
    valid = {"run_id": "a", "subject": "1", "session": "", "run": "1", "events": tmp_path / "e"}
    run = RunRecord(**valid, bold=str(tmp_path / "b.nii"), tr=np.float32(2))
    assert (run.bold, type(run.tr)) == (tmp_path / "b.nii", float)
    with pytest.raises(CohortError, match=f"RunRecord: {next(iter(change))} must be"):
        RunRecord(**{**valid, "bold": tmp_path, **change})
