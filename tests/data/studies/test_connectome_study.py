"""People with connectomes, written and read back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbrain.data import ConnectomeStudy, read_connectomes, write_connectomes
from fastbrain.errors import CohortError, OutputExistsError

REGIONS = ("a", "b", "c", "d")


def study(people=3):
    rng = np.random.default_rng(0)
    rows = rng.uniform(-1, 1, (people, 6))
    names = [f"p{i}" for i in range(people)]
    table = {name: {"age": str(20 + i)} for i, name in enumerate(names)}
    return ConnectomeStudy(dict(zip(names, rows, strict=True)), table, REGIONS)


def square(lower):
    whole = np.eye(4)
    rows, columns = np.tril_indices(4, -1)
    whole[rows, columns] = whole[columns, rows] = lower
    return whole


def test_what_is_written_is_read_back(tmp_path):
    written = study()
    folder = write_connectomes(written, tmp_path / "study")
    np.save(folder / "connectomes" / "p1.npy", square(written.connectomes["p1"]))
    found = read_connectomes(folder)
    assert found.people == ["p0", "p1", "p2"]
    assert found.regions == REGIONS
    for person, values in written.connectomes.items():
        np.testing.assert_array_equal(found.connectomes[person], values)
        np.testing.assert_allclose(np.tanh(found.features()[person]), values, atol=1e-6)
    assert found.numbers("age") == {"p0": 20.0, "p1": 21.0, "p2": 22.0}
    assert found.families() == {p: p for p in found.people}
    with pytest.raises(OutputExistsError):
        write_connectomes(written, folder)


def test_a_correlation_of_one_has_a_finite_feature():
    found = ConnectomeStudy({"p": np.array([1.0, -1.0, 0.0])}, {"p": {"age": "3"}}, REGIONS[:3])
    np.testing.assert_allclose(found.features()["p"], [7.2543, -7.2543, 0], atol=1e-3)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.zeros(5), r"\(4, 4\) or \(6,\) floats"),
        (np.zeros(6, dtype=int), "floats"),
        (np.full(6, 1.5), "correlations"),
        (np.array([0, 0, np.nan, 0, 0, 0]), "correlations"),
        (square(np.zeros(6)) + np.tri(4, k=-1) / 2, "symmetric"),
    ],
)
def test_a_wrong_connectome_is_refused(tmp_path, values, match):
    folder = write_connectomes(study(), tmp_path / "study")
    np.save(folder / "connectomes" / "p1.npy", values)
    with pytest.raises(CohortError, match=match):
        read_connectomes(folder)


def test_a_wrong_study_is_refused(tmp_path):
    lost = study()
    lost.connectomes.pop("p1")
    with pytest.raises(CohortError, match="a connectome for every person"):
        write_connectomes(lost, tmp_path / "study")
    folder = write_connectomes(study(), tmp_path / "study")
    (folder / "study.json").write_text(json.dumps({"regions": ["a"]}))
    with pytest.raises(CohortError, match="two regions"):
        read_connectomes(folder)
    (folder / "study.json").write_text(json.dumps({"regions": REGIONS}))
    (folder / "participants.tsv").write_text("participant_id\tage\np1\t3\np1\t4\n")
    with pytest.raises(CohortError, match=r"read_connectomes: .* a person of its own"):
        read_connectomes(folder)
