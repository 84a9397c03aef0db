"""Draw the meaning of a caption as a short video."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .captions import Meaning

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
    """Return offset (dx, dy), size and transparency of the object at a phase 0..1 of the clip."""
    wave = np.sin(2 * np.pi * phase)
    return (
        (0.5 * phase, -1.6 * phase * (1 - phase) * 2, 1.0, 0.0),  # throws: an arc
        (0.4 * phase - 0.6, 0.0, 1.0, 0.0),  # carries: beside the actor
        (0.8 * phase, 0.55, 1.0, 0.0),  # kicks: along the ground
        (0.0, 0.0, 0.7 + 0.9 * phase, 0.0),  # paints: grows
        (0.25 * wave, 0.1 * wave, 1.0, 0.2),  # washes: shakes
        (-0.3, 0.2, 1.0, phase),  # hides: fades away
    )[action]
