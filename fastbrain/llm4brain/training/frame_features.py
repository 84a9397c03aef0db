"""What a frozen frame encoder makes of clips: computed once, kept on disk, checked when read.

One safetensors file a clip. Its name is a hash of the encoder's weights and configuration, of the
clip's bytes, and of how frames are taken from it, so that nothing stale can be read. It holds the
hash of its tokens: a damaged file is computed again, and said to be.
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

# raised when the code that takes frames from clips changes them
_VERSION = 1


class FrameFeatures:
    """Tokens of clips through a frozen frame encoder; a ``Frames`` callable by trial id.

    Parameters
    ----------
    encoder : VisionModelFrames
    clip_of : callable
        Trial id to the file of its clip.
    frames, size : int
        Frames taken from a clip, and their side in pixels.
    folder : str or Path, optional
        Default ``features`` below the cache folder (``$FASTBRAIN_CACHE``).
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
        """Hash of all that decides the tokens of a clip."""
        if clip not in self._keys:
            told = [_VERSION, self.digest, sha256(clip), self.frames, self.size]
            self._keys[clip] = hashlib.sha256(json.dumps(told).encode()).hexdigest()
        return self._keys[clip]

    def path(self, clip: Path) -> Path:
        """File of a clip's tokens."""
        key = self.key(clip)
        return self.folder / key[:2] / f"{key}.safetensors"

    def prepare(self, trial_ids: Iterable[str]) -> int:
        """Compute what is missing before training begins; returns how many clips that were."""
        clips = sorted({self.clip_of(trial) for trial in trial_ids})
        missing = [clip for clip in clips if self._read(clip) is None]
        for clip in track(missing, "frame features") if missing else ():
            self._compute(clip)
        say(f"frame features: {len(missing)} of {len(clips)} clips computed, the rest was there")
        return len(missing)

    def __call__(self, trial_id: str) -> Tensor:
        """Tokens (T·patches, dim) of a trial's clip."""
        clip = self.clip_of(trial_id)
        known = self._read(clip)
        return self._compute(clip) if known is None else known

    def _read(self, clip: Path) -> Tensor | None:
        """Tokens on disk, None where there are none or the file is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.path(clip)
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                # a copy of its own: the file may be replaced while the tokens are in use
                tokens: Tensor = file.get_tensor("tokens").clone()
                written = (file.metadata() or {}).get("sha256")
        except (OSError, SafetensorError):
            tokens, written = torch.empty(0), None
        # read once and found whole, a file is not hashed again
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
