"""Messages of AFNI's real-time system, taken out of a stream of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .afni_images import MARKER, ImageLayout, read_commands
from .afni_voxels import BYE, HELLO, Mask, VoxelLayout, read_hello

_MOST_TEXT = 32 << 10  # AFNI's own limit on its commands
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n\r\a\f"


@dataclass(frozen=True, eq=False)
class Frame:
    """One volume of a stream."""

    data: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    tr_s: float | None
    motion: npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Redirect:
    """The sender will open a connection to this port and send its images there."""

    port: int


class NotAfniError(VolumeError):
    """A connection that does not begin as one of AFNI's."""


class End:
    """The sender has said that the run is over."""


class Decoder:
    """Takes messages out of the bytes of one connection; what is held is bounded by one message.

    Parameters
    ----------
    mask : Mask or None
        Voxels that the plugin sends.
    """

    def __init__(self, mask: Mask | None) -> None:
        self._mask = mask
        self._held = bytearray()
        self._layout: ImageLayout | VoxelLayout | None = None
        self.frames = 0

    @property
    def inside(self) -> bool:
        """Whether a message has begun that is not complete."""
        return bool(self._held) or self._layout is None

    @property
    def started(self) -> bool:
        """Whether the beginning of a run was understood."""
        return self._layout is not None

    def feed(self, block: bytes) -> None:
        """Add bytes that arrived."""
        self._held += block

    def next(self) -> Frame | Redirect | End | None:
        """Take the next message; None if it is not complete.

        Raises
        ------
        NotAfniError
            The bytes are no message of AFNI.
        VolumeError
            The message is damaged, or is not served.
        """
        if self._layout is None:
            found = self._begin()
            if found is not None or self._layout is None:
                return found
        layout = self._layout
        end = BYE if isinstance(layout, VoxelLayout) else MARKER
        if len(self._held) >= len(end) and self._held.startswith(end):
            return End()
        if len(self._held) < layout.nbytes:
            return None
        block = bytes(self._held[: layout.nbytes])
        del self._held[: layout.nbytes]
        self.frames += 1
        if isinstance(layout, VoxelLayout):
            data, motion = layout.decode(block)
            return Frame(data, layout.mask.affine, None, motion)
        return Frame(layout.decode(block), layout.affine, layout.tr_s, None)

    def _begin(self) -> Redirect | None:
        head = bytes(self._held[:8])
        if not head:
            return None
        if head[:3] == HELLO[: len(head)]:
            found = read_hello(head, self._mask) if len(head) >= 4 else None
            if found is not None:
                self._layout, used = found
                del self._held[:used]
            return None
        text, zero, _ = bytes(self._held[: _MOST_TEXT + 1]).partition(b"\0")
        if text.translate(None, _PRINTABLE):
            raise NotAfniError("a connection must begin with commands or AFNI's greeting.")
        if not zero:
            if len(text) > _MOST_TEXT:
                raise NotAfniError(f"commands must end within {_MOST_TEXT} bytes.")
            return None
        del self._held[: len(text) + 1]
        commands = text.decode("ascii")
        if commands.startswith(("tcp:", "shm:")):
            return _redirect(commands)
        self._layout = read_commands(commands)
        return None


def _redirect(commands: str) -> Redirect:
    """Read the control string: where the images will be sent; programs it names are not run."""
    kind, _, rest = commands.split("\n", 1)[0].partition(":")
    port = rest.rpartition(":")[2].strip()
    if kind != "tcp" or not (port.isdigit() and len(port) <= 5 and 1024 <= int(port) <= 65535):
        raise VolumeError(
            "images must be sent over TCP to a port above 1023. Start the sender with the name "
            "of this machine as its host."
        )
    return Redirect(int(port))
