"""Disk cache of the tokens of clips from a frozen frame encoder, verified on reading.

Each clip has one safetensors file. The file name is a hash of encoder weights and configuration,
the bytes of the clip, and the sampling of frames, so a stale file is never read. The file contains
the hash of its tokens; a damaged file is computed again, with a message.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from ..._io import cache_folder, sha256, write_atomic
from ..._progress import say, track
from ...data.readers.clips import read_clip
from ..vision_model import VisionModelFrames

# increase when the code that samples frames changes its output
_VERSION = 1


class FrameFeatures:
    """Cached tokens of clips from a frozen frame encoder; a ``Frames`` callable by trial id.

    Parameters
    ----------
    encoder : VisionModelFrames
    clip_of : callable
        Maps a trial id to the file of its clip.
    frames, size : int
        Number of frames per clip, and their height and width in pixels.
    folder : str or Path, optional
        Default: ``features`` in the cache folder (``$FASTBRAIN_CACHE``).
    """

    def __init__(
        self,
        encoder: VisionModelFrames,
        clip_of: Callable[[str], Path],
        *,
        frames: int,
        size: int,
        folder: str | Path | None = None,
    ) -> None:
        self.encoder, self.clip_of = encoder, clip_of
        self.frames, self.size = frames, size
        self.folder = Path(folder) if folder is not None else cache_folder() / "features"
        self.digest = encoder.digest()
        self._keys: dict[Path, str] = {}
        self._sound: set[str] = set()

    def key(self, clip: Path) -> str:
        """Hash everything that determines the tokens of a clip."""
        if clip not in self._keys:
            key = [_VERSION, self.digest, sha256(clip), self.frames, self.size]
            self._keys[clip] = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        return self._keys[clip]

    def path(self, clip: Path) -> Path:
        """Return the path of the cache file of a clip."""
        key = self.key(clip)
        return self.folder / key[:2] / f"{key}.safetensors"

    def prepare(self, trial_ids: Iterable[str]) -> int:
        """Compute missing tokens before training; return the number of clips computed."""
        clips = sorted({self.clip_of(trial) for trial in trial_ids})
        missing = [clip for clip in clips if self._read(clip) is None]
        for clip in track(missing, "frame features") if missing else ():
            self._compute(clip)
        say(f"frame features: {len(missing)} of {len(clips)} clips computed, the rest was there")
        return len(missing)

    def __call__(self, trial_id: str) -> Tensor:
        """Return the tokens (T·patches, dim) of the clip of a trial."""
        clip = self.clip_of(trial_id)
        known = self._read(clip)
        return self._compute(clip) if known is None else known

    def _read(self, clip: Path) -> Tensor | None:
        """Read tokens from disk; return None if the file is missing or damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.path(clip)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                # copy, because the file may be replaced while the tokens are in use
                tokens: Tensor = file.get_tensor("tokens").clone()
                written = (file.metadata() or {}).get("sha256")
        except (OSError, SafetensorError):
            tokens, written = torch.empty(0), None
        # a file that was verified once is not hashed again
        if path.name not in self._sound and _digest(tokens) != written:
            say(f"frame features: {path} is damaged, computed again from {clip.name}")
            path.unlink()
            return None
        self._sound.add(path.name)
        return tokens

    def _compute(self, clip: Path) -> Tensor:
        from safetensors.torch import save

        images = torch.from_numpy(read_clip(clip, frames=self.frames, size=self.size))
        tokens = self.encoder(images[None].to(self.encoder.mean.device))[0].cpu().contiguous()
        path = self.path(clip)
        write_atomic(path, save({"tokens": tokens}, metadata={"sha256": _digest(tokens)}))
        self._sound.add(path.name)
        return tokens


def _digest(tokens: Tensor) -> str:
    whole = tokens.contiguous().flatten().view(torch.uint8).numpy()
    about = f"{tokens.dtype} {tuple(tokens.shape)}".encode()
    return hashlib.sha256(about + whole.tobytes()).hexdigest()
