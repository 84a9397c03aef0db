"""Small videos: drawn from a caption's meaning for the simulation, and read from any file.

Each slot of the meaning has a look of its own: the place is the background, the actor a large
shape, the object a small one, and the action is how the two move.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._io import write_atomic
from ..errors import CohortError, InputError, MissingPartError
from .grammar import Meaning

# RGB in 0..1; six clearly different hues per slot
_PLACES = (
    (0.3, 0.6, 0.3), (0.9, 0.8, 0.5), (0.7, 0.5, 0.4),
    (0.4, 0.4, 0.45), (0.1, 0.3, 0.15), (0.9, 0.95, 1.0),
)  # fmt: skip
_ACTORS = (
    (0.1, 0.2, 0.8), (0.8, 0.1, 0.2), (0.1, 0.7, 0.8),
    (0.9, 0.4, 0.7), (0.5, 0.3, 0.1), (0.6, 0.6, 0.7),
)  # fmt: skip
_OBJECTS = (
    (1.0, 0.5, 0.0), (0.2, 0.0, 0.5), (0.6, 0.3, 0.0),
    (0.8, 0.8, 0.0), (1.0, 0.8, 0.9), (0.0, 0.0, 0.0),
)  # fmt: skip
# Containers that hold their own frames. Playlists (HLS, concat scripts, SDP) name other files or
# addresses, so a clip could show what lies outside the data set.
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
            "clips: reading or writing video needs PyAV. pip install 'fastbrain[demo]'"
        ) from error
    return av


def draw_clip(
    meaning: Meaning, rng: np.random.Generator, *, frames: int = 8, size: int = 32
) -> npt.NDArray[np.uint8]:
    """Draw a meaning as a video; position and colour jitter come from `rng`.

    Parameters
    ----------
    meaning : Meaning
    rng : numpy Generator
    frames : int
        Number of frames.
    size : int
        Height and width, pixels.

    Returns
    -------
    ndarray, (frames, size, size, 3) uint8
    """
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    video = np.empty((frames, size, size, 3), dtype=np.float32)
    jitter = rng.uniform(-0.12, 0.12, size=4)
    for index, phase in enumerate(np.linspace(0, 1, frames, endpoint=False)):
        image = _place(meaning.place, x, y)
        dx, dy, grow, shade = _motion(meaning.action, phase)
        actor = _actor(meaning.actor, x + 0.35 + jitter[0] - 0.2 * dx, y + jitter[1])
        image[actor] = _ACTORS[meaning.actor]
        held = _object(
            meaning.object, (x - 0.4 + jitter[2] - dx) / grow, (y - 0.1 + jitter[3] - dy) / grow
        )
        image[held] = (1 - shade) * np.asarray(_OBJECTS[meaning.object]) + shade * image[held]
        video[index] = image
    video += rng.normal(0, 0.02, size=video.shape)
    return np.asarray(np.clip(video * 255, 0, 255), dtype=np.uint8)


def _place(place: int, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    texture = (
        np.sin(9 * y),
        (y > 0.3) * 1.0,
        np.sign(np.sin(8 * x) * np.sin(8 * y)),
        np.sin(14 * x),
        np.sin(10 * (x + y)),
        (y < -0.3) * -1.0,
    )[place]
    return np.asarray(
        np.clip(np.asarray(_PLACES[place]) + 0.1 * texture[..., None], 0, 1), dtype=np.float32
    )


def _actor(actor: int, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return (
        (np.abs(x) < 0.22) & (np.abs(y) < 0.7),  # tall block
        (np.abs(x) < 0.35 * (y + 0.75)) & (np.abs(y) < 0.7),  # tall triangle
        (np.abs(x) < 0.18) & (np.abs(y - 0.25) < 0.45),  # short block
        (np.abs(x) < 0.4 * (y + 0.25)) & (np.abs(y - 0.25) < 0.45),  # short triangle
        (x / 0.45) ** 2 + ((y - 0.45) / 0.25) ** 2 < 1,  # low ellipse
        (np.abs(x) + np.abs(y) < 0.5),  # diamond
    )[actor]


def _object(thing: int, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return (
        x**2 + y**2 < 0.05,
        (np.abs(x) < 0.25) & (np.abs(y) < 0.12),
        ((np.abs(x + 0.15) < 0.07) & (np.abs(y) < 0.3)) | ((np.abs(x) < 0.2) & (np.abs(y) < 0.07)),
        ((x / 0.1) ** 2 + (y / 0.35) ** 2 < 1) | (x**2 + (y - 0.2) ** 2 < 0.03),
        (np.abs(x) < 0.3 * (0.3 - y)) & (np.abs(y) < 0.25),
        (np.abs(x) < 0.2) & (np.abs(y) < 0.2),
    )[thing]


def _motion(action: int, phase: float) -> tuple[float, float, float, float]:
    """Offset (dx, dy), size and transparency of the object at a phase 0..1 of the clip."""
    wave = np.sin(2 * np.pi * phase)
    return (
        (0.5 * phase, -1.6 * phase * (1 - phase) * 2, 1.0, 0.0),  # throws: an arc
        (0.4 * phase - 0.6, 0.0, 1.0, 0.0),  # carries: beside the actor
        (0.8 * phase, 0.55, 1.0, 0.0),  # kicks: along the ground
        (0.0, 0.0, 0.7 + 0.9 * phase, 0.0),  # paints: grows
        (0.25 * wave, 0.1 * wave, 1.0, 0.2),  # washes: shakes
        (-0.3, 0.2, 1.0, phase),  # hides: fades away
    )[action]


def write_clip(path: str | Path, video: npt.NDArray[np.uint8], *, fps: int = 4) -> Path:
    """Write frames as an MP4 file, atomically.

    Parameters
    ----------
    path : str or Path
    video : ndarray, (T, H, W, 3) uint8
    fps : int
        Frames a second.
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
        How many frames to return; a shorter clip repeats its last one.
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
            # the header counted other frames than there are
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
    """Frames by number, those that are needed where the header can be trusted, and their count."""
    images: dict[int, npt.NDArray[np.uint8]] = {}
    count = 0
    with open(path, "rb") as file, _av().open(file, options=_OPTIONS) as container:
        stream = container.streams.video[0]
        told = stream.frames if trusting else 0
        needed = set(_even(told, frames))
        # one for all frames: making a scaler costs more than scaling a small frame
        scaler = _av().video.reformatter.VideoReformatter()
        for frame in container.decode(stream):
            if not told or count in needed:
                small = scaler.reformat(frame, width=size, height=size, format="rgb24")
                images[count] = small.to_ndarray()
            count += 1
    return images, count


def _even(count: int, frames: int) -> list[int]:
    """Numbers of `frames` evenly spaced ones of `count` frames."""
    return np.linspace(0, max(count - 1, 0), frames).round().astype(int).tolist()
