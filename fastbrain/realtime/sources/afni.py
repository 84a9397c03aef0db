"""A receiver of AFNI's real-time streams over TCP."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from ...errors import InputError, VolumeError
from ..volume import BadVolume, Clock, MonotonicClock, Volume
from .afni_voxels import read_mask_image
from .afni_wire import Decoder, End, Frame, NotAfniError, Redirect

_BLOCK = 1 << 18


class AfniSource:
    """Volumes of one run from one sender at a time.

    The first bytes tell the two streams apart: images for AFNI (from Dimon or rtfeedme, also when
    they first ask where to send them), and masked voxels from AFNI's plugin.

    Parameters
    ----------
    port : int
        Port to listen at; 0 takes a free one.
    host : str
        Address to listen at.
    mask : Path or None
        Mask of the plugin.
    tr_s : float or None
        Repetition time, seconds.
    clock : Clock
    poll_s : float
        Longest time without a yield, seconds.
    timeout_s : float
        Longest pause inside a message, seconds.

    Raises
    ------
    InputError
        The address cannot be listened at.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str,
        mask: Path | None,
        tr_s: float | None,
        clock: Clock,
        poll_s: float,
        timeout_s: float,
    ) -> None:
        self.name, self.tr_s = "afni", tr_s
        self.refused = 0
        self._mask = None if mask is None else read_mask_image(mask)
        self._clock, self._poll_s, self._timeout_s = clock, poll_s, timeout_s
        self._host = host
        self._door: socket.socket | None = _listen(host, port)
        self.port: int = self._door.getsockname()[1]
        self._images_door: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._decoder = Decoder(self._mask)
        self._heard = 0.0
        self._over = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Volume | BadVolume | None]:
        """Yield volumes as they are complete, and None while nothing arrives."""
        while not self._over:
            with self._lock:
                items = [] if self._over else self._step()
            yield from items
            if not items:
                yield None
        self.close()

    def close(self) -> None:
        """Close all sockets; iteration ends."""
        self._over = True
        with self._lock:
            for one in (self._sender, self._images_door, self._door):
                _close(one)
            self._sender = self._images_door = self._door = None

    def _step(self) -> list[Volume | BadVolume]:
        """Wait for at most `poll_s` and take what arrived."""
        doors = [d for d in (self._images_door, self._door) if d is not None]
        watched = [self._sender] if self._sender is not None else doors
        real = isinstance(self._clock, MonotonicClock)
        ready, _, _ = select.select(watched, [], [], self._poll_s if real else 0.0)
        if not ready:
            if not real:
                self._clock.sleep(self._poll_s)
            return self._late()
        if self._sender is None:
            self._welcome(ready[0])
            return []
        try:
            block = self._sender.recv(_BLOCK)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:  # the sender is gone
            block = b""
        self._heard = self._clock.now()
        if not block:
            return self._gone()
        self._decoder.feed(block)
        return self._messages()

    def _welcome(self, door: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the sender has left again
            self._sender, _ = door.accept()
            self._sender.setblocking(False)
            self._sender.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._decoder = Decoder(self._mask)
            self._heard = self._clock.now()
        if door is self._images_door:
            _close(door)
            self._images_door = None

    def _messages(self) -> list[Volume | BadVolume]:
        items: list[Volume | BadVolume] = []
        try:
            while (message := self._decoder.next()) is not None:
                if isinstance(message, Frame):
                    items.append(self._volume(message))
                    continue
                if isinstance(message, Redirect):
                    self._redirect(message)
                elif isinstance(message, End):
                    self._over = True
                self._drop()
                break
        except NotAfniError:
            self._drop()
            self.refused += 1
        except VolumeError as error:
            self._drop()
            self.refused += 1
            items.append(BadVolume(None, str(error), self._clock.now()))
        return items

    def _volume(self, frame: Frame) -> Volume | BadVolume:
        index, now = self._decoder.frames - 1, self._clock.now()
        try:
            return Volume(
                index=index,
                data=frame.data,
                affine=frame.affine,
                acquired_s=None,
                completed_s=now,
                tr_s=frame.tr_s if frame.tr_s is not None else self.tr_s,
                motion=frame.motion,
            )
        except InputError as error:
            return BadVolume(index, str(error), now)

    def _redirect(self, message: Redirect) -> None:
        if message.port == self.port:
            return
        _close(self._images_door)
        self._images_door = None
        try:
            self._images_door = _listen(self._host, message.port)
        except InputError as error:
            raise VolumeError(f"AFNI's images cannot be received: {error}") from error

    def _gone(self) -> list[Volume | BadVolume]:
        """End the run if it had begun: a sender that closes its connection has no more volumes."""
        decoder = self._decoder
        self._drop()
        self._over = decoder.frames > 0
        if not (decoder.started and decoder.inside):
            return []
        reason = "The connection ended inside a volume."
        return [BadVolume(decoder.frames, reason, self._clock.now())]

    def _late(self) -> list[Volume | BadVolume]:
        """Drop a sender that stops inside a message."""
        waited = self._clock.now() - self._heard
        if self._sender is None or not self._decoder.inside or waited < self._timeout_s:
            return []
        decoder = self._decoder
        self._drop()
        if not decoder.started:
            self.refused += 1
            return []
        reason = f"A volume did not continue for {self._timeout_s:g} s."
        return [BadVolume(decoder.frames, reason, self._clock.now())]

    def _drop(self) -> None:
        _close(self._sender)
        self._sender = None
        self._decoder = Decoder(self._mask)


def _listen(host: str, port: int) -> socket.socket:
    door = None
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
        door.listen(1)
        door.setblocking(False)
    except (OSError, ValueError, TypeError) as error:
        _close(door)
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"open_source: port {port} of {host[:60]!r} must be free to listen at, got '{reason}'. "
            "Close the program that uses it (afni -rt), or choose another."
        ) from error
    return door


def _close(one: socket.socket | None) -> None:
    if one is not None:
        with contextlib.suppress(OSError):
            one.close()
