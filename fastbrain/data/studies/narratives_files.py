"""Files of Narratives beside its recordings: exclusions, conditions and alignments."""

from __future__ import annotations

from pathlib import Path

from ..._io import read_json
from ..._progress import say
from ...errors import CohortError
from ..readers.tables import read_tsv


def excluded(root: Path) -> set[str]:
    """Names of the scans that the authors exclude."""
    path = root / "code" / "scan_exclude.json"
    if not path.is_file():
        say(f"note: {path} was not found, so that no scan is excluded")
        return set()
    value = read_json(path)
    try:
        return {name for people in value.values() for names in people.values() for name in names}
    except (AttributeError, TypeError) as error:
        raise CohortError(
            f"plan_stories: {path} must map tasks to people to scans, got '{error}'."
        ) from error


def conditions(root: Path) -> dict[tuple[str, str], str]:
    """Condition by person and task: cells of participants.tsv list one value for each task."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    columns, rows = read_tsv(path)
    if not {"participant_id", "task", "condition"} <= set(columns):
        return {}
    return {
        (row["participant_id"], task): condition
        for row in rows
        for task, condition in zip(
            row["task"].split(","), row["condition"].split(","), strict=False
        )
    }


def alignment_of(root: Path, task: str, condition: str) -> tuple[str, Path] | None:
    """Name and alignment of what was heard; milkyway has one version for each condition."""
    for name in (task, f"{task}{condition}"):
        for file in ("align.csv", "align.json"):
            path = root / "stimuli" / "gentle" / name / file
            if path.is_file():
                return name, path
    return None
