"""The table of the papers names files, tests and commands that exist."""

from __future__ import annotations

import ast
import importlib
import re
from dataclasses import fields
from pathlib import Path

import pytest

from fastbrain import cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "papers.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|") and not line.startswith("|---")
]
NAMED = sorted(set(re.findall(r"`((?:fastbrain|tests)/[^`]+)`", PAGE)))
COMMANDS = sorted(
    {found for cells in ROWS for found in re.findall(r"`(fastbrain [a-z][^`]*)`", cells[1])}
)


def test_every_row_is_filled():
    assert len(ROWS) > 50
    assert [cells for cells in ROWS if not all(cells) or len(cells) not in (4, 5)] == []


@pytest.mark.parametrize("name", NAMED)
def test_a_named_file_or_test_exists(name):
    path, _, test = name.partition("::")
    assert (ROOT / path).is_file()
    if test:
        tree = ast.parse((ROOT / path).read_text())
        assert test in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_named_command_has_these_options(command):
    name, *words = command.split()[1:]
    assert name in cli.COMMANDS
    recipes = cli.RECIPES.get(name, {name: name.replace("-", "_")})
    if words and words[0] in recipes:
        file = recipes[words.pop(0)]
    else:
        file = next(iter(recipes.values()))
    module = importlib.import_module(f"fastbrain.commands.{file}")
    known = {f"--{f.name.replace('_', '-')}" for f in fields(module.Config)}
    assert {word for word in words if word.startswith("--")} <= known
