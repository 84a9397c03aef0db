"""The hub as a folder."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
from huggingface_hub.errors import LocalEntryNotFoundError


@dataclass
class Hub:
    """What was asked of the hub; its files are in `folder`, and none is in the cache."""

    folder: Path
    token: str | None = None
    created: list[str] = field(default_factory=list)
    asked: list[tuple[str, str | None, bool]] = field(default_factory=list)


def hub_in(folder: Path, monkeypatch) -> Hub:
    """Replace the client of the hub by one that uploads into `folder` and downloads from it."""
    hub = Hub(folder)

    class Api:
        def __init__(self, token=None):
            hub.token = token

        def create_repo(self, name, *, private, exist_ok):
            assert private
            assert exist_ok
            hub.created.append(name)

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
            for file in sorted(p for p in Path(folder_path).rglob("*") if p.is_file()):
                name = file.relative_to(folder_path).as_posix()
                assert any(fnmatch(name, pattern) for pattern in allow_patterns)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / name)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    def download(name, *, revision, allow_patterns, local_files_only=False):
        hub.asked.append((name, revision, local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return hub
