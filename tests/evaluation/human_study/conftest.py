"""A run with texts that could break a page, and answers to its forms."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastbrain._digests import read_sealed
from fastbrain._io import write_json
from fastbrain.errors import InputError

HOSTILE = (
    "</script><script>alert(1)</script>",
    "\"quotes\" 'both' & &amp; <b>bold</b>",
    "مرحبا بالعالم \u202e reversed \u2066",
    "word " * 3000,
    "\U0001f9e0 emoji \u0301 {{ braces }} {% raw %}",
    "",
)


@pytest.fixture
def evaluated(finished_run, store, tmp_path) -> Path:
    """A copy of the finished run with samples: the last two windows have equal texts."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    ids = store.split.test
    said = [f"{HOSTILE[i % len(HOSTILE)]} {i}" for i in range(len(ids))]
    said[5], said[-2], said[-1] = "", "the same", "the  same\n"
    columns = {
        "trial_id": list(ids),
        "subject": [store.by_id[t].subject for t in ids],
        "run_id": [store.by_id[t].run_id for t in ids],
        "block": [store.by_id[t].run_id for t in ids],
        "truth": [f"<i>truth {i}</i>" for i in range(len(ids))],
        "decoded": said,
        "deranged": [*(f"other {text}" for text in said[:-2]), "the same", "the same"],
    }
    pq.write_table(pa.table(columns), run / "samples.parquet")
    write_json(run / "metrics.json", {"n_derangements": 100, "sampling": {"method": "greedy"}})
    return run


@pytest.fixture
def reply(tmp_path):
    """Write the answers to a form; `choose` gets True if the true brain is first, and the pair."""

    def write(out: Path, form: str, choose, name: str | None = None, changes=None) -> Path:
        key = read_sealed(out / "key" / "key.json", error=InputError)["forms"][form]
        said = {
            str(n): answer
            for n, item in enumerate(key["items"], start=1)
            if (answer := choose(item["true"], item["pair"])) is not None
        }
        found = {
            "format": "fastbrain human study answers 1",
            "form": form,
            "digest": key["digest"],
            "answers": said,
        }
        path = tmp_path / (name or f"{form}-answers.json")
        path.write_text(json.dumps(found | (changes or {})))
        return path

    return write
