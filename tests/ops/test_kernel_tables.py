"""Choice among candidates of a kernel: table, heuristic, and the warning about a bad table."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from fastbrain.kernels import tables

CANDIDATES = (
    tables.Candidate.of("plain", BM=64, num_warps=4, num_stages=2),
    tables.Candidate.of("plain", BM=128, num_warps=8, num_stages=3),
    tables.Candidate.of("cublas"),
)
FIRST, SECOND, THIRD = (candidate.name for candidate in CANDIDATES)
ON_GPU = SimpleNamespace(device=torch.device("cuda", 0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for tables, on a machine whose only GPU is called Some GPU."""
    for cached in (tables.gpu_name, tables.choices_of, tables._measured):
        cached.cache_clear()
    monkeypatch.setenv("FASTBRAIN_KERNEL_TABLES", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Some (R) GPU")
    yield tmp_path
    for cached in (tables.gpu_name, tables.choices_of, tables._measured):
        cached.cache_clear()


def write(folder: Path, choices: object, version: int = tables.FORMAT) -> None:
    table = {"format": version, "gpu": "Some (R) GPU", "choices": choices}
    (folder / "some-r-gpu.json").write_text(json.dumps(table))


def taken(shape: str = "float32") -> str:
    return tables.choose("sums", shape, CANDIDATES, ON_GPU).name


def test_names_say_variant_and_constants():
    assert (FIRST, THIRD) == ("plain-BM64-w4-s2", "cublas")
    assert CANDIDATES[0].tile == {"BM": 64, "num_warps": 4, "num_stages": 2}


def test_the_table_decides_where_it_names_a_candidate(folder, recwarn):
    write(folder, {"sums": {"float32": {"candidate": SECOND, "ms": {SECOND: 1.0}}}})
    assert taken() == SECOND
    assert taken("bfloat16") == FIRST
    assert len(recwarn) == 0


def test_a_gpu_without_a_table_is_told_once(folder):
    with pytest.warns(RuntimeWarning, match=r"none of some-r-gpu.*--race") as told:
        assert taken() == taken("bfloat16") == FIRST
    assert len(told) == 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "must be JSON"),
        ("[]", "format 1, got list"),
        ('{"format": 2, "choices": {}}', "format 1, got 2"),
        ('{"format": 1}', "must name a candidate.*KeyError"),
        ('{"format": 1, "choices": {"sums": {"float32": "plain"}}}', "TypeError"),
        ('{"format": 1, "choices": {"sums": {"float32": {"candidate": "gone"}}}}', "names gone"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_once(content, told, folder):
    (folder / "some-r-gpu.json").write_text(content)
    with pytest.warns(RuntimeWarning, match=told) as warned:
        assert taken() == taken() == FIRST
    assert len(warned) == 1


def test_a_tensor_that_is_not_on_a_gpu_takes_the_first(folder, recwarn):
    write(folder, {"sums": {"float32": {"candidate": SECOND}}})
    assert tables.choose("sums", "float32", CANDIDATES, torch.zeros(1)).name == FIRST
    assert len(recwarn) == 0


def test_a_forced_candidate_is_taken_inside_the_block(folder):
    write(folder, {"sums": {"float32": {"candidate": SECOND}}})
    with tables.asked() as log:
        with tables.forced("sums", THIRD):
            assert taken() == THIRD
        assert taken() == SECOND
        with (
            tables.forced("sums", "none"),
            pytest.raises(ValueError, match="one of plain"),
        ):
            taken()
    assert [question.taken.name for question in log] == [THIRD, SECOND]
    assert log[0] == tables.Question("sums", "float32", CANDIDATES, CANDIDATES[2])


def test_only_tables_in_the_known_form_are_kept_in_the_package():
    paths = list(tables.FOLDER.glob("*.json"))
    assert paths
    for path in paths:
        table = json.loads(path.read_text())
        assert tables.read(path)
        assert path.stem == tables.slug(table["gpu"])
        assert table["env"]["date"]
