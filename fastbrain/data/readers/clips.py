"""Write small videos as MP4 files and read frames from video files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._io import write_atomic
from ...errors import CohortError, InputError, MissingPartError

# Containers that hold their own frames. Playlists (HLS, concat scripts, SDP) name other files or
# addresses, so that a clip could read data from outside the data set.
_CONTAINERS = (
    "mov", "matroska", "webm", "avi", "mpeg", "mpegts", "mpegvideo", "m4v", "ogg", "flv", "asf",
    "gif", "bmp_pipe", "jpeg_pipe", "png_pipe", "tiff_pipe", "webp_pipe",
)  # fmt: skip
_OPTIONS = {"format_whitelist": ",".join(_CONTAINERS), "protocol_whitelist": "none"}


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingPartError(
            "clips: reading or writing video needs PyAV. pip install 'fastbrain-fmri[demo]'"
        ) from error
    return av


def write_clip(path: str | Path, video: npt.NDArray[np.uint8], *, fps: int = 4) -> Path:
    """Write frames as an MP4 file, atomically.

    Parameters
    ----------
    path : str or Path
    video : ndarray, (T, H, W, 3) uint8
    fps : int
        Frames per second.
    """
    if video.ndim != 4 or video.shape[-1] != 3 or video.dtype != np.uint8:
        raise InputError(
            f"write_clip: video must be (T, H, W, 3) uint8, got {video.shape} {video.dtype}."
        )
    buffer = io.BytesIO()
    with _av().open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 400_000
        for frame in video:
            for packet in stream.encode(_av().VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return write_atomic(path, buffer.getvalue())


def read_clip(path: str | Path, *, frames: int = 8, size: int = 32) -> npt.NDArray[np.float32]:
    """Read evenly spaced frames of a video file.

    The file is opened as a container that holds its own frames (MP4, MOV, MKV, WebM, AVI, MPEG,
    Ogg, FLV, ASF, GIF, or one picture). Playlists are refused: they name other files.

    Parameters
    ----------
    path : str or Path
    frames : int
        Number of frames to return; frames of a shorter clip are repeated.
    size : int
        Height and width after resizing, pixels.

    Returns
    -------
    ndarray, (frames, 3, size, size) float32
        RGB in 0..1.

    Raises
    ------
    CohortError
        The file is missing, not a video, or of a format that may name other files.
    """
    try:
        images, count = _frames(path, frames, size)
        if not images.keys() >= set(_even(count, frames)):
            # the header states a wrong number of frames: decode again and count
            images, count = _frames(path, frames, size, trusting=False)
    except (OSError, _av().error.FFmpegError, IndexError) as error:
        raise CohortError(
            f"read_clip: {path} must be a readable video that holds its own frames (no playlist), "
            f"got '{error}'. Convert it, to MP4 for instance."
        ) from error
    if not images:
        raise CohortError(f"read_clip: {path} must hold at least one frame, got none.")
    frames_first = np.stack([images[i] for i in _even(count, frames)]).transpose(0, 3, 1, 2)
    return frames_first.astype(np.float32) / np.float32(255)


def _frames(
    path: str | Path, frames: int, size: int, *, trusting: bool = True
) -> tuple[dict[int, npt.NDArray[np.uint8]], int]:
    """Decode frames by number and count them; only the needed ones if the header is trusted."""
    images: dict[int, npt.NDArray[np.uint8]] = {}
    count = 0
    with open(path, "rb") as file, _av().open(file, options=_OPTIONS) as container:
        stream = container.streams.video[0]
        announced = stream.frames if trusting else 0
        needed = set(_even(announced, frames))
        # one scaler for all frames: creating it costs more than scaling a small frame
        scaler = _av().video.reformatter.VideoReformatter()
        for frame in container.decode(stream):
            if not announced or count in needed:
                small = scaler.reformat(frame, width=size, height=size, format="rgb24")
                images[count] = small.to_ndarray()
            count += 1
    return images, count


def _even(count: int, frames: int) -> list[int]:
    """Return the indices of `frames` evenly spaced frames among `count`."""
    return np.linspace(0, max(count - 1, 0), frames).round().astype(int).tolist()
