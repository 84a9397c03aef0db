"""The static bundle: whole, small, self-contained, and never markup from text."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from fastbrain.realtime.page.hub import KEPT

STATIC = files("fastbrain.realtime.page").joinpath("static")
NAMES = sorted(path.name for path in STATIC.iterdir())
MOST_BYTES = 100_000
SCRIPTS = [name for name in NAMES if name.endswith(".js")]


def text(name: str) -> str:
    return STATIC.joinpath(name).read_text()


def test_the_bundle_is_small():
    assert {"index.html", "main.js", "style.css", "icon.svg"} <= set(NAMES)
    assert sum(len(text(name)) for name in NAMES) < MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_files_are_short(name):
    assert len(text(name).splitlines()) <= 300


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_from_elsewhere(name):
    addresses = set(re.findall(r"""(?:https?:)?//[\w.-]+\.\w+[^\s"']*""", text(name)))
    # the name of the format, not an address that is asked
    assert addresses <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_never_becomes_markup(name):
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser",
        text(name),
    )
    assert found == []


def test_markup_has_no_inline_code():
    page = text("index.html")
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", page) == []


def test_nothing_moves():
    """There is no motion that prefers-reduced-motion could ask to leave out."""
    assert re.findall(r"transition|animation|@keyframes|smooth", text("style.css")) == []


def test_everything_that_is_named_is_there():
    named = set(re.findall(r'(?:src|href)="static/([^"]+)"', text("index.html")))
    for name in SCRIPTS:
        named |= set(re.findall(r'from "\./([^"]+)"', text(name)))
    assert named == set(NAMES) - {"index.html"}


def test_elements_that_scripts_look_for_are_there():
    page = text("index.html")
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert len(ids) == len(re.findall(r'\bid="', page))
    wanted = {
        wanted
        for name in SCRIPTS
        for wanted in re.findall(r'(?:element|set|getElementById)\("([\w-]+)"', text(name))
    }
    assert wanted - ids == set()


def test_the_page_keeps_what_the_server_keeps():
    kept = dict(re.findall(r"(\w+): (\d+)", text("model.js").split("KEPT = {")[1].split("}")[0]))
    assert (int(kept["volumes"]), int(kept["latencies"])) == (KEPT["volume"], KEPT["latency"])
    assert int(kept["texts"]) == KEPT["text"] == KEPT["control"]
