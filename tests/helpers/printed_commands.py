"""Collect the command lines that the documentation and the source of the package print.

A *whole* line stands alone: a line of a code block, of a docstring or of a table of commands. A
*mention* is part of a sentence, for example of an error message: its words up to the first that is
neither an option nor a placeholder belong to it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastbrain import cli

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/*.md")
SOURCES = ("fastbrain/**/*.py", "fastbrain/**/*.j2", "examples/*.py", "studies/*.py")

_NAMES = "|".join(sorted(cli.COMMANDS, key=len, reverse=True))
_COMMAND = rf"(?:fastbrain (?:{_NAMES})|make [a-z]+)(?![\w-]*:)"
_FENCE = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_TICKS = re.compile(rf"`+(?:\$ )?({_COMMAND}[^`]*)`+")
# a line may go on with a line of options, and may end with a remark
_LINE = re.compile(
    rf"^ *(?:\$ )?({_COMMAND}\b[^\n]*?(?:\\?\n *--[^\n]*?)*)(?: {{2,}}[(#][^\n]*)?$", re.MULTILINE
)
_MENTION = re.compile(rf"fastbrain (?:{_NAMES})\b[^`]*")
# words of a mention after the command: options, placeholders such as {out} or NEW-RUN, paths
_PART = re.compile(r"--[a-z][a-z-]*|[A-Z][A-Z-]+|\{.*\}|[\w.-]*/[\w./-]*")


@dataclass(frozen=True)
class Printed:
    """A command line, and the file that prints it."""

    line: str
    where: str
    whole: bool

    @property
    def words(self) -> list[str]:
        """The words after ``fastbrain`` or ``make``."""
        return self.line.split()[1:]


def collect() -> list[Printed]:
    """Return all printed ``fastbrain`` and ``make`` lines, each once."""
    found: dict[str, Printed] = {}
    for one in sorted((*_of_pages(), *_of_sources()), key=lambda one: not one.whole):
        found.setdefault(one.line, one)
    return sorted(found.values(), key=lambda one: one.line)


def _of_pages() -> Iterator[Printed]:
    for path in _files(PAGES):
        text = path.read_text("utf-8")
        for block in _FENCE.findall(text):
            yield from _whole(_LINE.findall(block), path)
        prose = _FENCE.sub("", text)
        yield from _sorted_out(_TICKS.findall(prose), path)
        yield from _mentions(_TICKS.sub("", prose), path)


def _of_sources() -> Iterator[Printed]:
    for path in _files(SOURCES):
        text = path.read_text("utf-8")
        for string in _strings(text) if path.suffix == ".py" else [text]:
            lines = [line for line in _LINE.findall(string) if line.startswith("fastbrain")]
            yield from _whole(lines, path)
            rest = _LINE.sub("", string)
            yield from _sorted_out(_TICKS.findall(rest), path)
            yield from _mentions(_TICKS.sub("", rest), path)


def _sorted_out(ticked: Iterable[str], path: Path) -> Iterator[Printed]:
    for text in ticked:
        words = text.split()
        first = 3 if words[1:3] and words[2:3] and words[2] in cli.RECIPES.get(words[1], {}) else 2
        alone = words[0] == "make" or (len(words) > first and not words[first].startswith("--"))
        yield from _whole([text], path) if alone else _mentions(text, path)


def _strings(source: str) -> Iterator[str]:
    """Yield the strings of a module; an expression of an f-string stands in braces."""
    tree = ast.parse(source)
    parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(v.value) if isinstance(v, ast.Constant) else _braced(v.value)
                for v in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in parts:
                yield node.value


def _braced(expression: ast.expr) -> str:
    return "{" + ast.unparse(expression).replace(" ", "") + "}"


def _whole(lines: Iterable[str], path: Path) -> Iterator[Printed]:
    for line in lines:
        yield Printed(" ".join(line.replace("\\\n", " ").split()), _place(path), whole=True)


def _mentions(text: str, path: Path) -> Iterator[Printed]:
    for match in _MENTION.finditer(" ".join(text.split())):
        yield Printed(_words_of(match[0]), _place(path), whole=False)


def _words_of(mention: str) -> str:
    words = mention.split()
    kept = [words[0], words[1].rstrip(".,;:)")]
    for word in words[2:] if kept[1] == words[1] else []:
        bare = word.rstrip(".,;:)")
        recipe = len(kept) == 2 and bare in cli.RECIPES.get(kept[1], {})
        if not recipe and not _PART.fullmatch(bare):
            break
        kept.append(bare)
        if bare != word:
            break
    return " ".join(kept)


def _files(patterns: tuple[str, ...]) -> list[Path]:
    return sorted({p for pattern in patterns for p in ROOT.glob(pattern)})


def _place(path: Path) -> str:
    return str(path.relative_to(ROOT))
