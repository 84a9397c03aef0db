"""Find the runs of a data set that is not BIDS by the pattern of its file names."""

from __future__ import annotations

import glob
import re
from pathlib import Path

from ..._arguments import checked
from ...errors import CohortError, ConfigError
from .absent import absent_files
from .inside import inside
from .runs_table import RunRecord, check_files, check_unique, run_id_of

_FIELD = re.compile(r"\{(\w+)\}")
_FIELDS = ("subject", "session", "run")


@checked
def runs_by_pattern(
    root: str | Path,
    *,
    bold: str,
    mask: str | None = None,
    space: str = "",
    tr: float | None = None,
    allow_outside: bool = False,
) -> tuple[RunRecord, ...]:
    """Find runs without events by the pattern of their file names.

    Parameters
    ----------
    root : str or Path
    bold : str
        Path of an image below `root` with ``{subject}`` and, in as many places as needed,
        ``{session}`` and ``{run}``: ``{subject}/Results/{run}/{run}_clean.nii.gz``. A field stands
        for any text without a slash; letters and digits of it are the label.
    mask : str, optional
        Path of the mask of an image, with the same fields.
    space : str
        Space of the images, for the records.
    tr : float, optional
        Repetition time in seconds, for images without one.
    allow_outside : bool
        Whether files may be links that lead out of `root`.

    Returns
    -------
    tuple of RunRecord
        Ordered by path.

    Raises
    ------
    CohortError
        No image is found, two images have one name, two subjects have one label or one has none,
        or files are absent or lead out of `root`.
    ConfigError
        The pattern has no subject, or an unknown field.
    """
    root = Path(root)
    named = _FIELD.findall(bold)
    unknown = sorted({*named, *_FIELD.findall(mask or "")} - set(_FIELDS))
    if "subject" not in named or unknown or Path(bold).is_absolute():
        raise ConfigError(
            f"runs_by_pattern: bold must be a path below the root with {{subject}} and, where "
            f"needed, {{session}} and {{run}}, got {bold!r}. Correct the pattern."
        )
    anything = "*".join(glob.escape(part) for part in _FIELD.split(bold)[::2])
    # unlike Path.glob, this finds links to data that was not fetched
    names = sorted(glob.glob(anything, root_dir=root))
    parsed = _regular(bold)
    matched = [(root / name, found) for name in names if (found := parsed.match(name))]
    if not matched:
        raise CohortError(
            f"runs_by_pattern: {root} must hold images {bold}, got none. Are they downloaded and "
            "unpacked, and is it the right folder?"
        )
    records = []
    people: dict[str, str] = {}
    for path, found in matched:
        fields = found.groupdict()
        labels = {key: re.sub(r"[^A-Za-z0-9]", "", fields.get(key, "")) for key in _FIELDS}
        subject, session, run = labels["subject"], labels["session"], labels["run"] or "1"
        if not subject or people.setdefault(subject, fields["subject"]) != fields["subject"]:
            raise CohortError(
                f"runs_by_pattern: {path} must have a subject with letters or digits of its own, "
                f"got {fields['subject']!r}"
                + (f" beside {people[subject]!r}. " if subject else ". ")
                + "Rename the folder or file, or write a runs table."
            )
        brain = None if mask is None else root / mask.format(**fields)
        for file in (path, brain):
            if file is not None and not allow_outside:
                inside(root, _relative(file, root), what=f"runs_by_pattern: {file}")
        record = RunRecord(
            run_id=run_id_of(subject, session, run),
            subject=subject,
            session=session,
            run=run,
            bold=path,
            events=None,
            mask=brain,
            tr=tr,
            root=root,
            space=space,
        )
        records.append(record)
    absent = absent_files(record.bold for record in records)
    if len(absent):
        raise CohortError(f"runs_by_pattern: images must be there, got {absent}. Fetch them.")
    check_unique(root, records)
    check_files(root, records)
    return tuple(records)


def _regular(pattern: str) -> re.Pattern[str]:
    """Compile a pattern; a field that comes again must have the same text."""
    parts, seen, place = [], set(), 0
    for match in _FIELD.finditer(pattern):
        parts.append(re.escape(pattern[place : match.start()]))
        name = match[1]
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)")
        seen.add(name)
        place = match.end()
    return re.compile("".join([*parts, re.escape(pattern[place:]), r"\Z"]))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
