"""The page of a store's quality escapes all text, is one small file, and shows what it says."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace

import numpy as np
from PIL import Image

from fastbrain.cli import main
from fastbrain.data import VoxelStore
from fastbrain.evaluation.report import quality_page
from fastbrain.evaluation.report.quality_page import carpet, write_quality_page

EVIL = "<script>alert(1)</script>"


def pictures(html):
    found = re.findall(r'class="carpet"[^>]*base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))) for text in found]


def test_all_runs_are_shown_and_text_is_escaped(store, tmp_path):
    runs = {k: {**v, "notes": [EVIL]} for k, v in store.info.runs.items()}
    bad = replace(store, info=replace(store.info, runs=runs, excluded={"sub-99_run-01": EVIL}))
    html = write_quality_page(bad, tmp_path / "page.html").read_text()
    assert EVIL not in html
    assert html.count("&lt;script&gt;") == 1 + len(runs)
    assert "http" not in html
    assert len(html) < 5_000_000
    assert len(pictures(html)) == len(runs)
    for name in runs:
        assert html.count(f"<h3>{name}</h3>") == 1
    assert "DVARS before cleaning" in html


def test_a_carpet_shows_the_signal_of_the_store(store):
    name = next(iter(store.info.runs))
    found = carpet(store, name)
    run = store.run(name)
    assert found.shape[1] == len(run)
    places = np.argwhere(store.inv_std > 0)
    series = run[:, places[0, 0], places[0, 1]].astype(float)
    z = (series - series.mean()) / series.std()
    np.testing.assert_allclose(found[0], np.clip((z / 2.5 + 1) * 127.5, 0, 255), atol=0.6)


def test_with_many_runs_those_with_the_most_motion_are_drawn(store, tmp_path, monkeypatch):
    names = list(store.info.runs)
    runs = {k: {**v, "quality": {**v["quality"], "fd_mean": 0.1 * i}}
            for i, (k, v) in enumerate(store.info.runs.items())}  # fmt: skip
    moved = replace(store, info=replace(store.info, runs=runs))
    size = len(quality_page._picture(store, names[0])["carpet"])
    monkeypatch.setattr(quality_page, "_BYTES", 2.5 * size)
    html = write_quality_page(moved, tmp_path / "page.html").read_text()
    drawn = re.findall(r"<h3>([^<]+)</h3>", html)
    assert 1 <= len(drawn) < len(names)
    assert drawn == names[::-1][: len(drawn)]
    assert f"{len(names) - len(drawn)} runs with less motion are not drawn" in html


def test_the_command(store, tmp_path, capsys):
    shutil.copytree(store.path, tmp_path / "store")
    store = VoxelStore.open(tmp_path / "store")
    assert main(["quality", str(store.path)]) == 0
    assert capsys.readouterr().out == (store.path / "quality.tsv").read_text()
    assert main(["quality", str(store.path), "--out", str(tmp_path / "q.html")]) == 0
    assert (tmp_path / "q.html").is_file()
    for record in store.path.glob("runs/*.json"):
        record.unlink()
    # a store without the records of its preparation has no traces, and still its carpets
    html = write_quality_page(VoxelStore.open(store.path), tmp_path / "q.html").read_text()
    assert "<polyline" not in html
    assert len(pictures(html)) == len(store.info.runs)
