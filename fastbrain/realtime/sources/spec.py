"""Sources by their text form, for example ``dicom:/exports/today``."""

from __future__ import annotations

import math
from pathlib import Path

from ..._arguments import checked
from ...errors import InputError
from ..volume import Clock, MonotonicClock, Source
from .folder import FileReader, FolderSource
from .push import PushSource

_FORM_OF = {"series": "dicom", "slices": "dicom", "first": "nifti", "mask": "afni"}
FORMS = "dicom:FOLDER, nifti:FOLDER, afni:PORT, replay:FILE[@SPEED] or push"


@checked(least={"poll_s": 1e-4, "patience_s": 0, "timeout_s": 1e-3})
def open_source(
    spec: str,
    *,
    tr_s: float | None = None,
    clock: Clock | None = None,
    poll_s: float = 0.02,
    patience_s: float | None = 10.0,
    series: int | str | None = None,
    slices: int | None = None,
    first: int | None = None,
    mask: str | Path | None = None,
    host: str = "127.0.0.1",
    timeout_s: float = 10.0,
) -> Source:
    """Open a source of volumes.

    Parameters
    ----------
    spec : str
        ``dicom:FOLDER``: Siemens mosaics and enhanced images, slices of GE and Philips.
        ``nifti:FOLDER``: one NIfTI image a volume, ``.nii`` or ``.nii.gz``, with the number of the
        volume last in its name.
        ``afni:PORT``: the image stream that Dimon and rtfeedme send to AFNI's real-time plugin, or
        the masked voxels that the plugin sends on.
        ``replay:FILE`` or ``replay:FILE@SPEED``: a 4-D NIfTI image at the pace of its repetition
        time, or that many times as fast; ``@inf`` does not wait.
        ``push``: a :class:`PushSource`.
    tr_s : float, optional
        Repetition time, seconds, if it is known before the first volume. ``replay`` takes that of
        the header otherwise.
    clock : Clock, optional
        Default: the machine's monotonic clock.
    poll_s : float
        Longest time without a yield, seconds.
    patience_s : float or None
        Folders: a file or a set of slices that is not complete and has not grown for so long
        becomes a :class:`BadVolume`; with None, it becomes one when a later volume is complete.
    series : int or str, optional
        ``dicom``: SeriesNumber or SeriesInstanceUID; ``"new"`` for the first series that arrives
        after the start. Default: the series of the newest image in the folder, or the first that
        arrives. Other series are left alone.
    slices : int, optional
        ``dicom``: slices in a volume, for single slices with a header that does not state it.
    first : int, optional
        ``nifti``: number in the name of the first volume of a run. Default: 0 if the folder holds
        it or it arrives first, otherwise 1.
    mask : str or Path, optional
        ``afni``: the mask image that the plugin was given; its voxels that are not 0 are those that
        it sends.
    host : str
        ``afni``: address to listen at; others than that of this machine let every machine of the
        network send volumes.
    timeout_s : float
        ``afni``: longest pause inside a message, seconds.

    Returns
    -------
    Source

    Raises
    ------
    InputError
        The text has none of the forms, the folder or port cannot be used, or an argument is given
        that is for another form.
    VolumeError
        The file of ``replay``, or the mask, is invalid.
    MissingPartError
        ``dicom`` needs pydicom, which the extra ``realtime`` installs.
    """
    kind, _, rest = spec.partition(":")
    kind = kind.strip().lower()
    time: Clock = MonotonicClock() if clock is None else clock
    _check_times(tr_s, poll_s)
    pushed = kind == "push" and not rest
    if not pushed and (kind not in ("dicom", "nifti", "afni", "replay") or not rest):
        raise InputError(f"open_source: spec must be {FORMS}, got {spec[:200]!r}. Choose one.")
    given = {"series": series, "slices": slices, "first": first, "mask": mask}
    for name, value in given.items():
        if value is not None and kind != _FORM_OF[name]:
            raise InputError(
                f"open_source: {name} must be left out for {kind}, got {value!r:.80}. It is for "
                f"{_FORM_OF[name]}."
            )
    if pushed:
        return PushSource(tr_s=tr_s, clock=time, poll_s=poll_s)
    if kind == "replay":
        from .replay import ReplaySource

        path, speed = _speed(rest)
        return ReplaySource(path, tr_s=tr_s, clock=time, poll_s=poll_s, speed=speed)
    if kind == "afni":
        from .afni import AfniSource

        return AfniSource(
            _port(rest),
            host=host,
            mask=None if mask is None else Path(mask),
            tr_s=tr_s,
            clock=time,
            poll_s=poll_s,
            timeout_s=timeout_s,
        )
    reader = _reader(kind, series=series, slices=slices, first=first)
    return FolderSource(
        kind, _path(rest), reader, tr_s=tr_s, clock=time, poll_s=poll_s, patience_s=patience_s
    )


def _reader(
    kind: str, *, series: int | str | None, slices: int | None, first: int | None
) -> FileReader:
    if kind == "dicom":
        from .dicom_folder import DicomReader

        if slices is not None and not 1 <= slices <= 4096:
            raise InputError(f"open_source: slices must be 1..4096, got {slices}. Count them.")
        return DicomReader(series=series, slices=slices)
    from .nifti_folder import NiftiReader

    if first is not None and first < 0:
        raise InputError(f"open_source: first must be 0 or more, got {first}. Look at the names.")
    return NiftiReader(first=first)


def _check_times(tr_s: float | None, poll_s: float) -> None:
    if tr_s is not None and not 0.05 <= tr_s <= 60:
        raise InputError(f"open_source: tr_s must lie in 0.05..60 s, got {tr_s}. Pass seconds.")
    if poll_s > 1:
        raise InputError(f"open_source: poll_s must be at most 1 s, got {poll_s}. Pass less.")


def _path(text: str) -> Path:
    if "\0" in text or len(text) > 4095:
        raise InputError("open_source: spec must name a path without NUL of at most 4095 bytes.")
    return Path(text)


def _speed(text: str) -> tuple[Path, float]:
    """Split ``FILE@SPEED``; a name that is there as a whole has no speed."""
    head, at, tail = text.rpartition("@")
    if not at or _path(text).exists():
        return _path(text), 1.0
    try:
        speed = float(tail)
    except ValueError:
        return _path(text), 1.0
    if math.isnan(speed) or speed <= 0:
        raise InputError(f"open_source: speed must be above 0, got {tail}. 1 is that of the run.")
    return _path(head), speed


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise InputError(
            f"open_source: port must be a number in 0..65535, got {text[:40]!r}. AFNI's plugin "
            "sends to 53214 by default, Dimon to 7954."
        )
    return int(text)
