"""Citations in a text, ``[@key]``, and the BibTeX entries of the works cited."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_CITED = re.compile(r"@([A-Za-z][\w:-]*)")
_GROUP = re.compile(r"\[@[^\]]+\]")
_ENTRY = re.compile(r"^@\w+\{([^,]+),.*?^\}$", re.MULTILINE | re.DOTALL)


@cache
def entries() -> dict[str, str]:
    """Return the BibTeX entries of the package by key."""
    text = (files(__package__) / "references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0] for match in _ENTRY.finditer(text)}


def cited_keys(text: str) -> list[str]:
    """Return the keys that a text cites as ``[@key]`` or ``[@one; @two]``, sorted."""
    return sorted({key for group in _GROUP.findall(text) for key in _CITED.findall(group)})


def bibliography(text: str) -> str:
    """Return the BibTeX entries of all works that a text cites."""
    known = entries()
    return "\n\n".join(known[key] for key in cited_keys(text)) + "\n"
