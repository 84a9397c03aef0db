"""Any video file gives the frames that PyAV itself gives, even where its header miscounts."""

from __future__ import annotations

import numpy as np
import pytest

from fastbrain.data.readers.clips import read_clip
from fastbrain.errors import CohortError

av = pytest.importorskip("av")


def write(path, count, *, container="mp4", **options):
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream("mpeg4", rate=4)
        stream.width = stream.height = 48
        stream.pix_fmt = "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(count):
            image = rng.integers(0, 255, (48, 48, 3)).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                file.mux(packet)
        for packet in stream.encode():
            file.mux(packet)


def directly(path, frames, size):
    with av.open(str(path)) as file:
        images = [
            f.to_ndarray(format="rgb24", width=size, height=size) for f in file.decode(video=0)
        ]
    picks = np.linspace(0, len(images) - 1, frames).round().astype(int)
    return np.stack([images[i] for i in picks]).transpose(0, 3, 1, 2), len(images)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize(("frames", "size"), [(1, 16), (4, 16), (9, 20), (12, 31)])
def test_frames_are_pyavs(tmp_path, container, frames, size):
    path = tmp_path / "clip"
    write(path, 9, container=container)
    expected, count = directly(path, frames, size)
    assert count == 9
    found = read_clip(path, frames=frames, size=size)
    assert np.array_equal(found, expected.astype(np.float32) / np.float32(255))


def test_a_header_that_counts_more_than_there_is(tmp_path):
    path = tmp_path / "clip.mp4"
    # the index stands in front of the frames, so that a file that was cut still opens
    write(path, 9, movflags="faststart")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with av.open(str(path)) as file:
        assert file.streams.video[0].frames == 9
    expected, count = directly(path, 4, 16)
    assert 1 < count < 9
    found = read_clip(path, frames=4, size=16)
    assert np.array_equal(found, expected.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.txt", "clip.m3u8", "clip"])
@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_playlists_show_nothing_of_other_files(tmp_path, name, playlist):
    # the file it names lies beside it and is sound: what is refused is to follow it
    write(tmp_path / "other.ts", 9, container="mpegts")
    (tmp_path / name).write_text(playlist.format("other.ts"))
    assert read_clip(tmp_path / "other.ts").shape == (8, 3, 32, 32)
    with pytest.raises(CohortError, match="no playlist"):
        read_clip(tmp_path / name)


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "empty"])
def test_what_is_no_video(tmp_path, kind):
    path = tmp_path / "clip.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_text("" if kind == "empty" else "a dog runs")
    with pytest.raises(CohortError, match="must be a readable video"):
        read_clip(path)
