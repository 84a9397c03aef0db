"""Find words that make the prose hard to read; ``make lint`` runs this file.

Docstrings, comments and texts (messages, help) of Python, comments of C++ and CUDA, and pages of
Markdown are read.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("README.md", "CONTRIBUTING.md", "docs", "fastbrain", "kernels", "csrc")
# word -> what to write
AVOID = {
    r"stands? beside": "is reported with",
    r"told": "given, stated",
    r"somebody(?: else)?(?:'s)?": "another subject",
    r"nobody": "no subject",
    r"everybody": "every subject",
    r"whose": "of which, with",
    r"the library": "PyTorch, or another name",
}
WORDS = re.compile("|".join(rf"\b{word}\b" for word in AVOID), re.IGNORECASE)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a file that people read as text, with their numbers."""
    text = path.read_text()
    if path.suffix == ".md":
        yield from enumerate(text.splitlines(), start=1)
    elif path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from enumerate(node.value.splitlines(), start=node.lineno)
    else:
        for number, line in enumerate(text.splitlines(), start=1):
            if "//" in line:
                yield number, line.split("//", 1)[1]


def found() -> list[str]:
    """Places with such a word, ``file:line: word``."""
    files = [ROOT / name for name in FOLDERS]
    files += [path for folder in files for path in sorted(folder.rglob("*"))]
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files
        if path.suffix in (".py", ".md", ".cpp", ".h", ".cu")
        for number, line in prose(path)
        for match in WORDS.finditer(line)
    ]


if __name__ == "__main__":
    places = found()
    print("\n".join(places))
    if places:
        sys.exit(f"{len(places)} words to replace: {AVOID}")
