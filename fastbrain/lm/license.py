"""License of a language model, as far as its own files state it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from .kept_llm import LLMRecord

_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "COPYING")
_ENTRY = re.compile(r"^(license|license_name):\s*['\"]?([\w .+-]+?)['\"]?\s*$", re.MULTILINE)
_MOST_BYTES, _MOST_CHARACTERS = 1 << 16, 80


def license_of(record: LLMRecord) -> str:
    """Return the license of a recorded language model; "" if its files do not state one.

    The header of its ``README.md``, the first line of its license file and the metadata of a GGUF
    file are read, in this order; nothing is downloaded.
    """
    return next((found for found in _stated(record) if found), "")


def _stated(record: LLMRecord) -> Iterator[str]:
    folder = _folder(record)
    if folder is None:
        return
    yield _of_readme(_text(folder / "README.md"))
    for name in _FILES:
        lines = [line.strip() for line in _text(folder / name).splitlines()]
        yield next((line for line in lines if line), "")[:_MOST_CHARACTERS]
    yield from (_of_gguf(folder / name) for name in record.files if name.endswith(".gguf"))


def _folder(record: LLMRecord) -> Path | None:
    if record.kind != "hub":
        place = Path(record.name)
        return place.parent if place.is_file() else place
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(record.name, "config.json", revision=record.revision)
    return Path(found).parent if isinstance(found, str) else None


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _of_readme(text: str) -> str:
    parts = text.split("---", 2)
    if text[:3] != "---" or len(parts) < 3:
        return ""
    stated = dict(_ENTRY.findall(parts[1]))
    # for a custom license the hub has `other`, and its name in another entry
    own = stated.get("license", "") in ("", "other")
    return (stated.get("license_name") or stated.get("license", "")) if own else stated["license"]


def _of_gguf(path: Path) -> str:
    if importlib.util.find_spec("gguf") is None or not path.is_file():
        return ""
    from gguf import GGUFReader

    try:
        field = GGUFReader(path).get_field("general.license")
    except (OSError, ValueError, LookupError):  # loading the model says what is wrong with it
        return ""
    return "" if field is None else str(field.contents())[:_MOST_CHARACTERS]
