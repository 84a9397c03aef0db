"""One block of a comparison with another commit: a process that times a plan and ends.

Its own process, because two builds of one package cannot be imported into the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import some
from .rows import RowFile
from .session import Plan, Session


def main(arguments: Sequence[str]) -> None:
    """Append rows of a plan to a file.

    Parameters
    ----------
    arguments : sequence of str
        File of rows, commit to record ("" keeps what the code says), JSON of the plan.
    """
    path, commit, described = arguments
    options: dict[str, Any] = json.loads(described)
    file = RowFile(Path(path))
    session = Session(Plan(**options), lambda rows: None)
    if commit:
        session.recorder.environment["commit"] = commit
    # no file of its own: what it has from an earlier block would be skipped
    outcome = session.run()
    file.append(session.file.rows)
    if outcome.left:
        print(f"no time for {some(outcome.left)}")
