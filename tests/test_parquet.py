"""Tables come back with the values of pyarrow; foreign and damaged ones are refused."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastbrain._footer import Claims, read_claims
from fastbrain._parquet import read_columns
from fastbrain.errors import InputError

COLUMNS = {
    "text": ["a", "b", "a", None],
    "number": [1.5, float("inf"), 2.0, None],
    "whole": [1, -(2**62), 3, 4],
    "yes": [True, False, True, True],
    "nothing": [None] * 4,
}


def read(path):
    return read_columns(path, where="reader", error=InputError)


@pytest.mark.parametrize("rows", [4, 2, 1])
@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_values_come_back(tmp_path, rows, compression):
    table = pa.table(COLUMNS)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows, compression=compression)
    columns, schema = read(tmp_path / "a.parquet")
    assert columns == COLUMNS
    assert schema.equals(table.schema)


def test_an_empty_table_comes_back(tmp_path):
    table = pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.float64())})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0] == {"a": [], "b": []}


@pytest.mark.parametrize("version", ["1.0", "2.6"])
@pytest.mark.parametrize("pages", ["1.0", "2.0"])
def test_claims_are_those_that_pyarrow_reads(tmp_path, version, pages):
    path = tmp_path / "a.parquet"
    table = pa.table(COLUMNS)
    pq.write_table(table, path, row_group_size=3, version=version, data_page_version=pages)
    claims, metadata = read_claims(path), pq.read_metadata(path)
    assert isinstance(claims, Claims)
    assert claims.rows == 4
    assert [rows for rows, _ in claims.groups] == [3, 1]
    for i, (_, chunks) in enumerate(claims.groups):
        assert len(chunks) == len(COLUMNS)
        for j, chunk in enumerate(chunks):
            column = metadata.row_group(i).column(j)
            assert (chunk.values, chunk.packed, chunk.unpacked) == (
                column.num_values,
                column.total_compressed_size,
                column.total_uncompressed_size,
            )
            assert chunk.codec == 1


@pytest.mark.parametrize("compression", ["gzip", "zstd", "brotli", "lz4"])
def test_another_compression_is_refused(tmp_path, compression):
    pq.write_table(pa.table(COLUMNS), tmp_path / "a.parquet", compression=compression)
    with pytest.raises(InputError, match=r"reader: .*a\.parquet .*got compression"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[1, 2], [3]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"a", b"b"]),
        pa.array([1, 2], pa.timestamp("us")),
    ],
    ids=lambda values: str(values.type),
)
def test_other_kinds_of_columns_are_refused(tmp_path, values):
    pq.write_table(pa.table({"odd": values}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="must be a table of ours, got"):
        read(tmp_path / "a.parquet")


def test_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="readable Parquet file"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("keep", [0, 4, 11, 200, -1])
def test_a_cut_file_is_refused(tmp_path, keep):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(COLUMNS), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"a\.parquet must be a readable Parquet file"):
        read(path)
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "none.parquet")


def test_an_index_beyond_the_texts_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": ["x"] * 8 + ["y"] * 8 + ["z"] * 16}), path, compression="none")
    data = path.read_bytes()
    # runs of equal indices, twice their length before each
    runs = b"\x10\x00\x10\x01\x20\x02"
    assert data.count(runs) == 1
    path.write_bytes(data.replace(runs, runs[:-1] + b"\x03"))
    with pytest.raises(InputError, match="readable Parquet file"):
        read(path)
