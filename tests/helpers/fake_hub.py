"""The hub as a folder."""

from __future__ import annotations

import shutil
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub


def hub_in(folder: Path, monkeypatch) -> None:
    """Replace the client of the hub by one that uploads into `folder`."""

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, name, *, private, exist_ok):
            assert private

        def upload_folder(self, *, repo_id, folder_path, allow_patterns, commit_message):
            for file in sorted(p for p in Path(folder_path).rglob("*") if p.is_file()):
                name = file.relative_to(folder_path).as_posix()
                assert any(fnmatch(name, pattern) for pattern in allow_patterns)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / name)
            return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
