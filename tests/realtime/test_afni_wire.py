"""AFNI's streams as messages, however they are cut, and everything else that may be sent."""

from __future__ import annotations

import numpy as np
import pytest
from afni_streams import MARKER, fuzzed, header, images

from fastbrain.errors import FastbrainError, VolumeError
from fastbrain.realtime.sources.afni_voxels import read_mask_image
from fastbrain.realtime.sources.afni_wire import Decoder, End, Frame, Redirect


def decoded(data: bytes, mask=None, step: int | None = None) -> list:
    decoder, found = Decoder(mask), []
    step = step or len(data)
    for at in range(0, len(data), step):
        decoder.feed(data[at : at + step])
        while (message := decoder.next()) is not None:
            found.append(message)
            if not isinstance(message, Frame):
                return found
    return found


@pytest.mark.parametrize("step", [1, 7, 100, None])
def test_images(step):
    sent = images(3)
    stream = header() + b"".join(image.tobytes() for image in sent) + MARKER
    *found, end = decoded(stream, step=step)
    assert isinstance(end, End)
    for frame, image in zip(found, sent, strict=True):
        np.testing.assert_array_equal(frame.data, image)
        assert frame.tr_s == 1.5
        # the first voxel lies 10 mm right, 20 mm anterior and 30 mm inferior
        expected = [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, -30], [0, 0, 0, 1]]
        np.testing.assert_array_equal(frame.affine, expected)


@pytest.mark.parametrize(
    ("datum", "order", "dtype", "expected"),
    [
        ("short", "MSB_FIRST", ">i2", np.int16),
        ("float", "LSB_FIRST", "<f4", np.float32),
        ("byte", "LSB_FIRST", "u1", np.int16),
    ],
)
def test_types_of_images(datum, order, dtype, expected):
    (sent,) = images(1, dtype)
    (frame,) = decoded(header(DATUM=datum, BYTEORDER=order) + sent.tobytes())
    assert frame.data.dtype == expected
    np.testing.assert_array_equal(frame.data, sent)


@pytest.mark.parametrize(
    ("kind", "order"), [("seq", [0, 1, 2, 3, 4]), ("alt", [0, 2, 4, 1, 3]), (None, [0, 2, 4, 1, 3])]
)
def test_slices_in_order_of_acquisition(kind, order):
    (sent,) = images(1)
    commands = header(ACQUISITION_TYPE="2D+zt", ZORDER=kind)
    (frame,) = decoded(commands + sent[order].tobytes())
    np.testing.assert_array_equal(frame.data, sent)


@pytest.mark.parametrize(
    ("changes", "affine"),
    [
        ({"XYZFIRST": "10 20 30"}, [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 4, -30]]),
        ({"XYZFIRST": None}, [[-2, 0, 0, 6], [0, -3, 0, 7.5], [0, 0, 4, -8]]),
        ({"XYZFIRST": None, "ZFIRST": "12S"}, [[-2, 0, 0, 6], [0, -3, 0, 7.5], [0, 0, 4, 12]]),
        ({"XYFOV": "14 18", "ZDELTA": "2.5"}, [[-2, 0, 0, 10], [0, -3, 0, 20], [0, 0, 2.5, -30]]),
        (
            {"XYZAXES": "S-I A-P L-R", "XYZFIRST": "30 20A 50R"},
            [[0, 0, 4, 50], [0, -3, 0, 20], [-2, 0, 0, 30]],
        ),
        (
            {"OBLIQUE_XFORM": "2 0 0 5 0 3 1 6 0 -1 4 7 0 0 0 1"},
            [[-2, 0, 0, -5], [0, -3, -1, -6], [0, -1, 4, 7]],
        ),
    ],
)
def test_places_of_images(changes, affine):
    (sent,) = images(1)
    (frame,) = decoded(header(**changes) + sent.tobytes())
    np.testing.assert_array_equal(frame.affine, [*affine, [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"XYMATRIX": "64"}, "XYMATRIX must state the size"),
        ({"XYMATRIX": "64 64 -1"}, "XYMATRIX must hold whole numbers"),
        ({"XYMATRIX": "9999 9999 9999"}, "a volume must have at most"),
        ({"XYMATRIX": "0 1 1"}, "XYMATRIX must hold whole numbers"),
        ({"DATUM": "complex"}, "DATUM must be one of"),
        ({"XYZAXES": "R-L A-P A-P"}, "XYZAXES must hold three different directions"),
        ({"XYZAXES": "R-L A-P"}, "XYZAXES must hold three directions"),
        ({"XYZAXES": "R-L A-R I-S"}, "XYZAXES must hold three directions"),
        ({"XYZFIRST": "10A 20A 30I"}, "XYZFIRST must name sides"),
        ({"XYFOV": "0 0 0"}, "three voxel sizes above 0 mm"),
        ({"XYFOV": "nan 1 1"}, "XYFOV must hold numbers"),
        ({"TR": "x"}, "TR must hold numbers"),
        ({"NUM_CHAN": "2"}, "NUM_CHAN must be 1"),
        ({"ACQUISITION_TYPE": "4D"}, "ACQUISITION_TYPE must be"),
        ({"OBLIQUE_XFORM": "1 2 3"}, "OBLIQUE_XFORM must hold 16 numbers"),
    ],
)
def test_commands_that_are_not_served(changes, message):
    with pytest.raises(VolumeError, match=message):
        decoded(header(**changes))


def test_control_string():
    (message,) = decoded(b"tcp:localhost:7953\nmake_info\0")
    assert message == Redirect(7953)
    for text in (b"shm:grv:1M\0", b"tcp:x:80\0", b"tcp:x:y\0"):
        with pytest.raises(FastbrainError, match="over TCP"):
            decoded(text)


def test_ten_thousand_fuzzed_messages(brain_mask):
    rng, held = np.random.default_rng(17), read_mask_image(brain_mask[0])
    refused = 0
    for _ in range(10_000):
        decoder = Decoder(held)
        decoder.feed(fuzzed(rng))
        try:
            for _ in range(50):
                if decoder.next() is None:
                    break
        except FastbrainError:
            refused += 1
        assert len(decoder._held) <= 1000
    assert refused > 1000


def test_what_is_held_is_bounded_by_one_message():
    endless = Decoder(None)
    endless.feed(b"x" * 32_768)
    assert endless.next() is None
    endless.feed(b"x")
    with pytest.raises(FastbrainError, match="commands must end"):
        endless.next()
    decoder, block = Decoder(None), bytes(10_000)
    decoder.feed(header())
    for _ in range(100):
        decoder.feed(block)
        while decoder.next() is not None:
            pass
        assert len(decoder._held) < 5 * 6 * 7 * 2
