"""Parts of a live session, made from the options of ``fastbrain live``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..data import VoxelStore
    from ..realtime.session import Settings

_MOST_PHRASES = 10_000
_MOST_BYTES = 16 << 20


def read_preparation(config: Any) -> VoxelStore | None:
    """Open the preparation of RUN."""
    if config.run is None:
        return None
    from ..inference.open_decoder import preparation_for
    from ..realtime.session.open_decoder import kind_of_decoder

    kind_of_decoder(config.run)
    return preparation_for(config.run)


def check_tr(config: Any, like: VoxelStore | None) -> None:
    """Raise unless --tr is the repetition time of RUN."""
    if config.tr is not None and like is not None and abs(config.tr - like.tr) > 1e-3:
        raise InputError(
            f"live: --tr must be the repetition time of the run, {like.tr:g} s, got {config.tr:g}. "
            "Leave it out, or use a run of that repetition time."
        )


def make_preprocessor(like: VoxelStore | None) -> Any:
    """Make the preprocessing, of a run or of monitoring."""
    from ..realtime.preprocess import VolumePipeline

    return VolumePipeline.monitor() if like is None else VolumePipeline.from_run(like)


def make_decoder(config: Any, like: VoxelStore | None) -> Any:
    """Open the decoder of RUN."""
    if config.run is None:
        return None
    from ..realtime.session import open_window_decoder

    return open_window_decoder(
        config.run,
        like=like,
        sampling=config.sampling(),
        prompt=config.prompt,
        phrases=() if config.phrases is None else _lines(config.phrases),
        subject=config.subject,
        unknown_subject=config.unknown_subject,
        control=config.control,
        device=config.device,
    )


def _lines(path: Path) -> tuple[str, ...]:
    from ..data.readers.tables import read_lines

    if path.exists() and not path.is_file():
        raise InputError(
            f"live: {path} must be a file of phrases, got a folder or a device. Write the phrases "
            "to a file."
        )
    if path.is_file() and path.stat().st_size > _MOST_BYTES:
        raise InputError(
            f"live: {path} must hold 1 to {_MOST_PHRASES} phrases, one a line, got "
            f"{path.stat().st_size} bytes. Name a shorter file."
        )
    found = tuple(dict.fromkeys(filter(None, (line.strip() for line in read_lines(path)))))
    if not 0 < len(found) <= _MOST_PHRASES:
        raise InputError(
            f"live: {path} must hold 1 to {_MOST_PHRASES} phrases, one a line, got {len(found)}."
        )
    return found


def make_settings(config: Any, tr_s: float | None, *, numbered: bool) -> Settings:
    """Collect the settings of the session."""
    from ..realtime.session import Settings

    return Settings(
        tr_s=tr_s,
        deadline_s=config.deadline,
        idle_timeout_s=config.idle_timeout,
        expected=config.volumes,
        numbered=numbered,
    )


def open_log(config: Any, source: str, tr_s: float | None) -> Any:
    """Open --log, new or continued."""
    if config.log is None:
        return None
    from .._io import sha256
    from .._runfiles import manifest_path
    from ..realtime.outputs import JsonlLog

    run = None
    if config.run is not None:
        run = sha256(manifest_path(config.run, function="live"))[:16]
    return JsonlLog(
        config.log,
        run=run,
        source=source,
        tr_s=tr_s,
        deadline_s=tr_s if config.deadline is None else config.deadline,
        text=config.log_text,
    )
