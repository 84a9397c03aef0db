"""Family and site are matched to the people or refused; they are never lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastbrain.data import runs_from_bids
from fastbrain.data.readers.participants import read_participants
from fastbrain.errors import CohortError


def table(root: Path, *lines: str) -> Path:
    (root / "participants.tsv").write_text(
        "".join(line.replace(" ", "\t") + "\n" for line in lines)
    )
    return root


@pytest.mark.parametrize("columns", ["family site", "Family_ID SITE_ID", "siteid age familyID"])
def test_family_and_site(tmp_path, capsys, columns):
    for s in (1, 2):
        for kind in ("bold.nii", "events.tsv"):
            path = tmp_path / f"sub-{s}/func/sub-{s}_task-x_{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    names = columns.split()
    values = ["f7" if n.lower()[0] == "f" else "30" if n == "age" else "Paris" for n in names]
    unknown = " ".join(["n/a"] * len(names))
    table(tmp_path, f"participant_id {columns}", f"sub-1 {' '.join(values)}", f"sub-3 {unknown}")
    one, two = runs_from_bids(tmp_path)
    assert (one.family, one.site) == ("f7", "Paris")
    # nothing is known of a person without a row, and that is said
    assert (two.family, two.site) == ("", "")
    assert "has no row for sub-2: family and site" in capsys.readouterr().err


REFUSED = [
    (
        ["subject_id family", "sub-01 F1", "sub-02 F1"],
        "in the column participant_id, got subject_id",
    ),
    (["participant_id family", "sub-1 F1", "sub-2 F1"], "rows sub-01, sub-02, got sub-1, sub-2"),
    (["participant_id family", "01 F1", "2 F1"], "rows sub-02, got 01, 2"),
    (["participant_id site", "anna x", "otto x"], "rows sub-01, sub-02, got anna, otto"),
    (["participant_id family"], "rows sub-01, sub-02"),
    (["participant_id family family_id", "sub-01 a b"], "one column of family, got family, family"),
    (["participant_id family", "sub-01 a", "sub-01 b"], r"two that differ .* of sub-01 \(line 3\)"),
    (["participant_id family", "sub-01 N/A", "sub-02 N/A"], "line 2 family must be n/a"),
    (["participant_id family", "sub-01 none", "sub-02 none"], "line 2 family must be n/a"),
    (["participant_id family", "sub-01"], "line 2 must have 2 cells, got 1"),
]


@pytest.mark.parametrize(("lines", "message"), REFUSED)
def test_a_table_that_does_not_fit_is_refused(tmp_path, lines, message):
    with pytest.raises(CohortError, match=message):
        read_participants(table(tmp_path, *lines), ["01", "02"])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["participant_id age", "sub-1 30"], ""),
        (["name age", "sub-1 30"], "has no column participant_id"),
    ],
)
def test_tables_without_groups_have_nothing_to_lose(tmp_path, capsys, lines, said):
    assert read_participants(table(tmp_path, *lines), ["01", "02"]) == {}
    told = capsys.readouterr().err
    assert said in told
    assert bool(told) == bool(said)


def test_no_table_is_no_error(tmp_path):
    assert read_participants(tmp_path, ["01"]) == {}


def test_a_table_that_was_not_fetched(tmp_path):
    (tmp_path / "participants.tsv").symlink_to(".git/annex/objects/x")
    with pytest.raises(CohortError, match="must have been fetched"):
        read_participants(tmp_path, ["01"])
