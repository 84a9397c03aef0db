"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data named by FASTBRAIN_TEST_DATA; the test is skipped without it."""
    folder = os.environ.get("FASTBRAIN_TEST_DATA")
    if not folder:
        pytest.skip("FASTBRAIN_TEST_DATA is not set: no real data to read")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"FASTBRAIN_TEST_DATA={folder} is not a folder")
    return path
