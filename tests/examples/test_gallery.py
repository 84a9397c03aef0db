"""Every script of the gallery runs as it is printed, without a network, and is short."""

from __future__ import annotations

import gc
import re
import runpy
import socket
import tempfile
import warnings
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
# the selection of docs/conf.py
SCRIPTS = sorted((ROOT / "examples").glob("[0-9][0-9]_*.py"))
MOST_LINES = 59
SLOW = {"01_own_bids_data", "06_live_rehearsal", "07_custom_head_on_a_store"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One folder for the small language models that scripts train on their texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTBRAIN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(p, id=p.stem, marks=[pytest.mark.slow(seconds=10)] if p.stem in SLOW else [])
        for p in SCRIPTS
    ],
)
def test_it_runs(script, tmp_path, monkeypatch, capsys):
    def refuse(*args, **options):
        raise AssertionError(f"{script.name} must not use a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(), warnings.catch_warnings():
        # a script removes its folder when its process ends, and this one goes on
        warnings.simplefilter("ignore", ResourceWarning)
        runpy.run_path(str(script), run_name="__main__")
        gc.collect()
    assert capsys.readouterr().out.strip(), "it must print what it found"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
def test_it_is_a_page_of_the_gallery(script):
    text = script.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    assert re.match(r'"""\n(?P<title>.+)\n(=+)\n\n', text)
    title, line = text.splitlines()[1:3]
    assert len(line) == len(title)
    # only a TemporaryDirectory removes itself
    assert "mkdtemp" not in text
    # a result that a reader can rely on
    assert text.count("# %%\n") >= 3
    assert re.search(r"^    assert |^assert ", text.split("# %%\n")[-1], re.MULTILINE)


def test_every_use_has_a_script():
    numbers = [int(p.stem[:2]) for p in SCRIPTS]
    assert numbers == list(range(1, len(SCRIPTS) + 1))
    assert len(numbers) >= 10
