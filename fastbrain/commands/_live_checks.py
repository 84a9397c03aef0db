"""Checks of the options of ``fastbrain live`` that need no run and no source."""

from __future__ import annotations

from typing import Any

from .._environment import check_file
from ..errors import ConfigError
from ._kinds import given_options

_FASTEST = 1000.0
# what a rehearsal has of its own, or does not have
_OF_SESSIONS = ("tr", "series", "slices", "mask", "tcp", "lsl_markers", "bids", "page")
# what decodes; without RUN, nothing is decoded
_OF_RUNS = (
    *("phrases", "prompt", "show_text", "subject", "unknown_subject", "control"),
    *("method", "max_tokens", "beams", "temperature", "top_p"),
)
# option -> kind of the source that reads it
_OF_SOURCES = {"series": "dicom", "slices": "dicom", "mask": "afni"}


def check_options(config: Any) -> None:
    """Raise unless the options belong together.

    Raises
    ------
    ConfigError
        An option has no effect beside the others, or is out of range.
    InputError, DiskError
        The log or the derivative cannot be written, or a label of it is wrong.
    """
    if config.rehearse:
        _check_rehearsal(config)
    else:
        _check_session(config)
    if config.run is None and (given := given_options(config, _OF_RUNS)):
        raise ConfigError(f"live: {', '.join(given)} must come with RUN.")
    if config.log_text and (config.run is None or config.log is None):
        raise ConfigError("live: --log-text must come with RUN and --log.")
    if config.page != "none" and not (config.page.isdecimal() and int(config.page) < 65536):
        raise ConfigError(f"live: --page must be a port or none, got {config.page!r}.")
    if config.volumes is not None and config.volumes < 1:
        raise ConfigError(f"live: --volumes must be 1 or more, got {config.volumes}.")
    if config.log is not None:
        check_file(config.log, function="live")
        if config.rehearse and config.log.exists():
            raise ConfigError(f"live: --log must be a new file of a rehearsal, got {config.log}.")


def _check_rehearsal(config: Any) -> None:
    if config.run is None or config.source:
        raise ConfigError(
            "live: --rehearse must come with RUN and without --source. For example "
            "fastbrain live --rehearse RUN"
        )
    if others := given_options(config, _OF_SESSIONS):
        raise ConfigError(f"live: --rehearse must come without {', '.join(others)}. Leave it out.")
    if not 0 < config.speed < _FASTEST:
        raise ConfigError(
            f"live: --speed must lie between 0 and {_FASTEST:g}, got {config.speed:g}. Choose 1 to "
            "20."
        )


def _check_session(config: Any) -> None:
    if config.faults or config.speed != 1.0:
        raise ConfigError("live: --faults and --speed must come with --rehearse.")
    kind = config.source.partition(":")[0].strip().lower()
    if not config.source or kind == "push":
        raise ConfigError(
            "live: --source must be given: dicom:FOLDER, nifti:FOLDER, afni:PORT or "
            "replay:FILE[@SPEED]; or --rehearse."
        )
    for name, needed in _OF_SOURCES.items():
        if kind != needed and given_options(config, [name]):
            raise ConfigError(f"live: --{name} must come with a source {needed}:…, got {kind}.")
    if config.bids is None:
        if given := given_options(config, ["bids_subject", "bids_task"]):
            raise ConfigError(f"live: {', '.join(given)} must come with --bids.")
    else:
        if config.log is None or not config.bids_subject:
            raise ConfigError("live: --bids must come with --log and --bids-subject.")
        from ..realtime.outputs.bids import check_bids_session

        # now, and not when an hour of scanning is over
        check_bids_session(config.bids, subject=config.bids_subject, task=config.bids_task)
