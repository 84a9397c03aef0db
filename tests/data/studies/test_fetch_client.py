"""Downloads by openneuro-py itself from a server of this machine that behaves as S3 does."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fastbrain.data import fetch_dataset
from fastbrain.errors import ConfigError, FetchError

client = pytest.importorskip("openneuro._download", exc_type=ImportError)
models = pytest.importorskip("openneuro._models", exc_type=ImportError)

# the DOI is that of an older version, as many data sets keep it
DESCRIPTION = json.dumps({"Name": "x", "DatasetDOI": "10.18112/openneuro.ds004488.v0.9.0"}).encode()
FILES = {
    "dataset_description.json": DESCRIPTION,
    "task-action_bold.json": b'{"RepetitionTime": 2.0}',
    "participants.tsv": b"participant_id\nsub-01\nsub-02\n",
    "sub-01/func/sub-01_task-action_bold.nii.gz": bytes(range(256)) * 4000,
    "sub-02/func/sub-02_task-action_bold.nii.gz": bytes(range(255, -1, -1)) * 3000,
    "derivatives/other/sub-01/sub-01_x.txt": b"large",
}
IMAGE = "sub-01/func/sub-01_task-action_bold.nii.gz"


class Handler(BaseHTTPRequestHandler):
    """Files with ranges and MD5 as ETag."""

    def log_message(self, *_):
        """Print nothing."""

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        name = self.path.lstrip("/")
        data = self.server.files.get(name)
        if data is None:
            self.send_error(404)
            return
        start = 0
        if body and (asked := self.headers.get("Range")):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.server.ranges.append((name, start))
        elif body:
            self.server.whole.append(name)
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if body:
            self.wfile.write(data[start:])


@pytest.fixture
def server(monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.ranges, server.whole = dict(FILES), [], []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        files = [
            models.DatasetFile(filename=n, urls=[f"{address}/{n}"], size=len(d), id=n)
            for n, d in FILES.items()
        ]
        snapshot = models.Snapshot(id="ds004488:1.0.0", files=files)
        monkeypatch.setattr(client, "_get_download_metadata", lambda **_: snapshot)
        yield server
        server.shutdown()
        thread.join()


def held(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }


def test_a_download_goes_on_and_mends(server, tmp_path):
    folder = tmp_path / "had"
    fetch_dataset("had", folder, exclude=["derivatives/**"])
    wanted = {n: d for n, d in FILES.items() if not n.startswith("derivatives")}
    assert held(folder) == wanted
    # half of a file is continued, the damaged one comes again, the others are kept
    other = "sub-02/func/sub-02_task-action_bold.nii.gz"
    (folder / IMAGE).write_bytes(FILES[IMAGE][:1000])
    (folder / other).write_bytes(b"\0" + FILES[other][1:])
    server.whole.clear()
    fetch_dataset("had", folder, exclude=["derivatives/**"])
    assert held(folder) == wanted
    assert server.ranges == [(IMAGE, 1000)]
    assert sorted(server.whole) == ["dataset_description.json", other]


def test_sidecars_at_the_root_come_with_a_part(server, tmp_path):
    fetch_dataset("had", tmp_path / "had", include=["sub-01/**"])
    assert set(held(tmp_path / "had")) == {
        "dataset_description.json", "task-action_bold.json", "participants.tsv", IMAGE,
    }  # fmt: skip


def test_absent_files_and_patterns(server, tmp_path):
    with pytest.raises(ConfigError, match="sub-07"):
        fetch_dataset("had", tmp_path / "had", include=["sub-07/**"])
    assert not list((tmp_path / "had").iterdir())
    del server.files[IMAGE]
    with pytest.raises(FetchError, match="Run it again"):
        fetch_dataset("had", tmp_path / "had", include=["sub-01/**"])
    server.files[IMAGE] = FILES[IMAGE]
    fetch_dataset("had", tmp_path / "had", include=["sub-01/**"])
    assert held(tmp_path / "had")[IMAGE] == FILES[IMAGE]
