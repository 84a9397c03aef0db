"""A finished session as a BIDS derivative: one table and its sidecar, for offline analysis.

The log holds no person and no date, so the labels of the file names are given by the user.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ... import __version__
from ..._arguments import checked
from ..._io import as_disk_error, check_writable, read_json, write_atomic, write_json
from ...data.readers.tables import tsv_text
from ...errors import ConfigError, DiskError, InputError
from .jsonl import read_session_log

_DESCRIPTION = "dataset_description.json"
_LABEL = re.compile(r"[0-9A-Za-z]+")
_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")

# column -> its description in the sidecar
COLUMNS: dict[str, dict[str, Any]] = {
    "volume": {"Description": "Number of the volume in its run, from 0"},
    "onset": {"Description": "Acquisition time of the volume", "Units": "s"},
    "status": {
        "Description": "What became of this repetition time",
        "Levels": {
            "ok": "decoded in time",
            "late": "no result by the deadline",
            "dropped": "no volume came",
            "duplicate": "the volume came more than once",
            "out_of_order": "the volume came after a later one and was not decoded",
            "bad_volume": "what came could not be read",
            "held": "no new text: window incomplete or outside the limits, or a failure",
        },
    },
    "reason": {"Description": "Why the status is not ok"},
    "missed": {"Description": "Whether a result was due and missed its deadline (1) or not (0)"},
    "first_word_latency": {"Description": "Complete volume to first word", "Units": "s"},
    "text_latency": {"Description": "Complete volume to sentence", "Units": "s"},
    "text_volume": {"Description": "Volume that the text shown at this time was decoded from"},
    "text": {"Description": "Text shown at this time; absent if the log has no text"},
    "confidence": {"Description": "Geometric mean of the probabilities of the text's tokens"},
    "margin_no_brain": {
        "Description": "Gain in log likelihood of the text by the window over no brain, per token",
        "Units": "nat",
    },
    **{name: {"Description": f"Head motion, {name}", "Units": "mm"} for name in _MOTION[:3]},
    **{name: {"Description": f"Head motion, {name}", "Units": "rad"} for name in _MOTION[3:]},
    "framewise_displacement": {"Description": "Power et al. 2012, 50 mm", "Units": "mm"},
    "tsnr": {"Description": "Running median temporal signal-to-noise ratio in the mask"},
    "spike": {"Description": "Whether the volume is a spike (1) or not (0)"},
    "marks": {"Description": "Labels noted at this volume, separated by ' | '"},
}


@checked
def write_bids_session(
    log: str | Path,
    folder: str | Path,
    *,
    subject: str,
    task: str,
    session: str = "",
    run: str = "",
) -> Path:
    """Write the log of a session into a BIDS derivative dataset, which is made if it is absent.

    Parameters
    ----------
    log : str or Path
        From ``fastbrain live --log``.
    folder : str or Path
        The dataset; other sessions in it stay.
    subject, task : str
        Labels, letters and digits.
    session, run : str
        Labels, or "" for none.

    Returns
    -------
    Path
        ``sub-…_task-…_desc-live_timeseries.tsv``, one row a TR in order; its sidecar is the JSON
        file of the same name.

    Raises
    ------
    InputError
        A label has other characters than letters and digits.
    ConfigError
        The file is no log of a session, or the folder is another kind of dataset.
    DiskError
        The files cannot be written.
    """
    tags = {"sub": subject, "ses": session, "task": task, "run": run}
    check_bids_session(folder, subject=subject, task=task, session=session, run=run)
    header, rows = read_session_log(log)
    # a session that only measures may learn the repetition time from its first volume
    told = [row.get("tr_s") for row in rows if row["type"] in ("tr", "end")]
    known = [value for value in told if _is_tr(value)]
    if not _is_tr(header.get("tr_s")) and known:
        header["tr_s"] = known[-1]
    root = Path(folder)
    place = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "func"
    stem = "_".join(f"{key}-{label}" for key, label in tags.items() if label)
    table = place / f"{stem}_desc-live_timeseries.tsv"
    with as_disk_error(root):
        root.mkdir(parents=True, exist_ok=True)
    check_writable(root)
    _describe(root)
    write_atomic(table, _table(header, rows))
    sidecar = {
        "RepetitionTime": header.get("tr_s"),
        "Deadline": header.get("deadline_s"),
        "DecoderDigest": header.get("run"),
        **COLUMNS,
    }
    given = {name: value for name, value in sidecar.items() if value is not None}
    write_json(table.with_suffix(".json"), given)
    return table


@checked
def check_bids_session(
    folder: str | Path, *, subject: str, task: str, session: str = "", run: str = ""
) -> None:
    """Raise what :func:`write_bids_session` would raise for these labels and this folder.

    Parameters
    ----------
    folder : str or Path
    subject, task, session, run : str

    Raises
    ------
    InputError
        A label has other characters than letters and digits.
    ConfigError
        The folder is another kind of dataset.
    DiskError
        The folder is a file, or its description cannot be read.
    """
    tags = {"sub": subject, "ses": session, "task": task, "run": run}
    for key, label in tags.items():
        if not _LABEL.fullmatch(label) and (label or key in ("sub", "task")):
            raise InputError(
                f"write_bids_session: {key} must be letters and digits, got {label!r}. "
                f"Give the label alone, without '{key}-'."
            )
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise DiskError(
            f"write_bids_session: folder must be a folder, got the file {root}. Choose another one."
        )
    path = root / _DESCRIPTION
    found = read_json(path) if path.exists() else {"DatasetType": "derivative"}
    if not isinstance(found, dict) or found.get("DatasetType") != "derivative":
        raise ConfigError(
            f"write_bids_session: {root} must be a derivative dataset, got another one. "
            "Choose another folder."
        )


def _is_tr(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _describe(root: Path) -> None:
    path = root / _DESCRIPTION
    if path.exists():
        return
    description = {
        "Name": "fastbrain live sessions",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "fastbrain live", "Version": __version__}],
    }
    write_json(path, description)


def _table(header: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    marks: dict[int, list[str]] = {}
    for row in rows:
        if row.get("type") == "mark":
            marks.setdefault(int(row["index"]), []).append(str(row["label"]))
    records = {row["index"]: row for row in rows if row.get("type") == "record"}
    tr = header.get("tr_s")
    lines = [_line(records[i], marks.get(i, []), tr) for i in sorted(records)]
    return tsv_text(list(COLUMNS), lines)


def _line(row: dict[str, Any], marks: list[str], tr: float | None) -> list[str]:
    onset = row.get("acquired_s")
    if onset is None and tr is not None:
        onset = row["index"] * tr
    motion = row.get("motion") or [None] * len(_MOTION)
    values = [
        row["index"],
        onset,
        row["status"],
        row.get("reason"),
        row.get("missed"),
        row.get("first_word_s"),
        row.get("text_s"),
        row.get("text_of"),
        row.get("text"),
        row.get("confidence"),
        row.get("margin_no_brain"),
        *motion,
        row.get("fd_mm"),
        row.get("tsnr"),
        row.get("spike"),
        " | ".join(marks),
    ]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return " ".join(str(value).split()) or "n/a" if value is not None else "n/a"
