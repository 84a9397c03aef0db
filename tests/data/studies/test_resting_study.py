"""People with series of regions, written and read back."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastbrain.data import (
    RestDesign,
    RestingStudy,
    read_resting,
    resting_study,
    simulate_rest,
    write_resting,
)
from fastbrain.errors import CohortError, OutputExistsError


@pytest.fixture
def folder(tmp_path):
    cohort = simulate_rest(RestDesign(people=4, regions=5, frames=30))
    return write_resting(resting_study(cohort, tr=0.7), tmp_path / "study")


def test_what_is_written_is_read_back(folder):
    cohort = simulate_rest(RestDesign(people=4, regions=5, frames=30))
    study = read_resting(folder)
    assert list(study.series) == list(cohort.series)
    assert study.tr == 0.7
    for person, values in cohort.series.items():
        np.testing.assert_array_equal(study.series[person], values)
    ages = list(study.numbers("age").values())
    np.testing.assert_allclose(ages, cohort.age, atol=0.05 + 1e-9)
    assert study.families() == {p: p for p in cohort.series}
    with pytest.raises(OutputExistsError):
        write_resting(study, folder)


def test_families_come_from_the_table(folder):
    table = (folder / "participants.tsv").read_text().splitlines()
    lines = [table[0] + "\tfamily", *(f"{line}\t{'ab'[i % 2]}" for i, line in enumerate(table[1:]))]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    assert list(read_resting(folder).families().values()) == ["a", "b", "a", "b"]


FEW = ["a", "n/a", "", "a"]


def test_people_without_a_family_are_families_of_their_own(folder):
    table = (folder / "participants.tsv").read_text().splitlines()
    lines = [
        table[0] + "\tfamily",
        *(f"{line}\t{v}" for line, v in zip(table[1:], FEW, strict=True)),
    ]
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    assert list(read_resting(folder).families().values()) == ["a", "person-001", "person-002", "a"]


def test_a_persons_name_cannot_lead_out_of_the_folder(folder):
    np.save(folder.parent / "outside.npy", np.zeros((5, 30)))
    edit(folder, "participants.tsv", "person-002", "../../outside")
    with pytest.raises(CohortError, match="must stay inside"):
        read_resting(folder)
    (folder / "series" / "link.npy").symlink_to(folder.parent / "outside.npy")
    edit(folder, "participants.tsv", "../../outside", "link")
    with pytest.raises(CohortError, match="must stay inside"):
        read_resting(folder)


def edit(folder, name, old, new):
    path = folder / name
    path.write_text(path.read_text().replace(old, new))


BROKEN = {
    "no table": (lambda f: (f / "participants.tsv").unlink(), r"participants\.tsv"),
    "twice": (
        lambda f: edit(f, "participants.tsv", "person-001", "person-000"),
        "a person of its own",
    ),
    "no series": (lambda f: (f / "series/person-002.npy").unlink(), r"person-002\.npy must"),
    "cut": (
        lambda f: (f / "series/person-002.npy").write_bytes(b"\x93NUMPY"),
        r"person-002\.npy must",
    ),
    "other regions": (
        lambda f: np.save(f / "series/person-002.npy", np.zeros((4, 30))),
        r"must be \(5, T\) floats, got \(4, 30\)",
    ),
    "not finite": (
        lambda f: np.save(f / "series/person-002.npy", np.full((5, 30), np.nan)),
        "must be finite",
    ),
    "whole numbers": (
        lambda f: np.save(f / "series/person-002.npy", np.zeros((5, 30), int)),
        r"must be \(5, T\) floats, got \(5, 30\) int",
    ),
    "no clock": (lambda f: edit(f, "study.json", "0.7", "0"), "must give tr"),
    "a clock beyond all floats": (
        lambda f: edit(f, "study.json", "0.7", "1" + "0" * 400),
        "must give tr",
    ),
    "a clock in words": (lambda f: edit(f, "study.json", "0.7", '"fast"'), "must give tr"),
    "regions that are no names": (
        lambda f: edit(f, "study.json", '"region-00"', "7"),
        "must give tr .* and regions",
    ),
    "another name for people": (
        lambda f: edit(f, "participants.tsv", "participant_id", "subject"),
        "participant_id",
    ),
    "a cell too few": (lambda f: edit(f, "participants.tsv", "\tyoung", ""), "cells"),
    "an open quote": (
        lambda f: edit(f, "participants.tsv", "person-001", '"person-001'),
        '"person-001',
    ),
}


def test_a_header_takes_no_more_memory_than_the_file_holds(folder):
    header = {"descr": "<f8", "fortran_order": False, "shape": (5, 1 << 22)}
    with open(folder / "series" / "person-002.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    tracemalloc.start()
    try:
        with pytest.raises(CohortError, match="must hold 167772160 bytes"):
            read_resting(folder)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("what", BROKEN)
def test_broken_studies_are_refused(folder, what):
    change, told = BROKEN[what]
    change(folder)
    with pytest.raises(CohortError, match=told):
        read_resting(folder)


@pytest.mark.parametrize("value", ["n/a", "", "old", "nan", "34,5", "NaN"])
def test_a_target_is_known_of_everybody(folder, value):
    lines = (folder / "participants.tsv").read_text().splitlines()
    lines[2] = f"person-001\t{value}\told"
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    with pytest.raises(CohortError, match="person-001"):
        read_resting(folder).numbers("age")
    with pytest.raises(CohortError, match="iq"):
        read_resting(folder).numbers("iq")


@pytest.mark.parametrize("column", ["family", "family_id", "Family"])
def test_relatives_stay_together_whatever_the_column_is_called(tmp_path, column):
    table = {p: {column: f} for p, f in (("a", "F1"), ("b", "F1"), ("c", "n/a"))}
    study = RestingStudy(dict.fromkeys(table, np.ones((2, 9))), table, 2.0, ("x", "y"))
    assert read_resting(write_resting(study, tmp_path / "out")).families() == {
        "a": "F1", "b": "F1", "c": "c",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("series", "table", "message"),
    [
        (["../evil"], {"../evil": {"age": "3"}}, "people named by letters"),
        (["a"], {"a": {"age": "3"}, "b": {"age": "4"}}, "a series for every person"),
        (["a", "b"], {"a": {"age": "3"}}, r"without a row \['b'\]"),
        (["a", "b"], {"a": {"age": "3"}, "b": {"age": "3", "family": "F"}}, "texts .* for every"),
        (["a"], {"a": {"age": 3}}, "the texts"),
        (["a"], {"a": {"age": " 3 "}}, "cells that a table gives back"),
        (["NA"], {"NA": {"age": "3"}}, "must be n/a"),
        ([], {}, "a row with a column"),
    ],
    ids=str,
)
def test_a_study_that_could_not_be_read_is_not_written(tmp_path, series, table, message):
    study = RestingStudy(dict.fromkeys(series, np.ones((2, 9))), table, 2.0, ("x", "y"))
    with pytest.raises(CohortError, match=message):
        write_resting(study, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
