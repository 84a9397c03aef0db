"""Downloads by a module that stands for openneuro-py; nothing here uses the network."""

from __future__ import annotations

import asyncio
import inspect
import sys
from types import SimpleNamespace

import pytest

from fastbrain import cli
from fastbrain.data import fetch_dataset
from fastbrain.errors import CohortError, ConfigError, FetchError, MissingPartError


@pytest.fixture
def calls(monkeypatch):
    """What the client is asked for; it writes one file."""
    asked = []

    def download(**options):
        asked.append(options)
        (options["target_dir"] / "dataset_description.json").write_text("{}")

    monkeypatch.setitem(sys.modules, "openneuro", SimpleNamespace(download=download))
    return asked


def test_the_version_is_fixed_and_all_is_verified(calls, tmp_path):
    assert fetch_dataset("had", tmp_path / "had", include=["sub-01/*"]) == tmp_path / "had"
    (asked,) = calls
    assert (asked["dataset"], asked["tag"]) == ("ds004488", "1.0.0")
    assert asked["include"] == ["sub-01/*", "/*.json"]
    assert asked["metadata_timeout"] > 60
    assert "source" not in asked
    assert asked["exclude"] is None
    assert asked["verify_hash"] is asked["verify_size"] is True
    # a second call goes on in the same folder, also with other files
    fetch_dataset("ds004488", tmp_path / "had", include=["sub-02/*"], jobs=2)
    assert calls[1]["max_concurrent_downloads"] == 2


def test_an_interrupted_download_says_so_and_goes_on(tmp_path, monkeypatch):
    def broken(**options):
        (options["target_dir"] / "part").write_text("x")
        raise TimeoutError("no answer\nfrom the server")

    monkeypatch.setitem(sys.modules, "openneuro", SimpleNamespace(download=broken))
    with pytest.raises(FetchError, match=r"TimeoutError: no answer from the server\. Run it again"):
        fetch_dataset("bold5000", tmp_path / "d")
    monkeypatch.setitem(sys.modules, "openneuro", SimpleNamespace(download=lambda **_: None))
    assert fetch_dataset("bold5000", tmp_path / "d") == tmp_path / "d"


def client(monkeypatch, download):
    monkeypatch.setitem(sys.modules, "openneuro", SimpleNamespace(download=download))


@pytest.mark.parametrize(
    "said",
    [
        'The requested snapshot with the tag "1.0.0" does not exist for dataset ds004488.',
        "Could not find path in the dataset:\n- sub-99/**\nPlease check your includes.",
    ],
)
def test_what_does_not_exist_claims_no_folder(tmp_path, monkeypatch, said):
    def unknown(**_):
        raise RuntimeError(said)

    client(monkeypatch, unknown)
    with pytest.raises(ConfigError, match="version, include and exclude must be those of"):
        fetch_dataset("had", tmp_path / "d", include=["sub-99/**"])
    client(monkeypatch, lambda **_: None)
    # corrected, in the same folder
    assert fetch_dataset("had", tmp_path / "d", version="1.1.0") == tmp_path / "d"


def test_the_description_of_another_version_does_not_stop_a_resumed_download(tmp_path, monkeypatch):
    """The client reads the version of a folder from a DOI that data sets keep of older ones."""
    path, seen = tmp_path / "d/dataset_description.json", []

    def download(**options):
        seen.append(path.exists())
        if len(seen) == 2:
            raise ConnectionError("reset")
        path.write_text('{"DatasetDOI": "10.18112/openneuro.ds004488.v0.9.0"}')

    client(monkeypatch, download)
    fetch_dataset("had", tmp_path / "d")
    with pytest.raises(FetchError, match="reset"):
        fetch_dataset("had", tmp_path / "d")
    assert path.exists()
    fetch_dataset("had", tmp_path / "d")
    assert seen == [False] * 3
    assert {p.name for p in (tmp_path / "d").iterdir()} == {path.name, ".fastbrain-fetch.json"}


def test_the_mirror_of_the_environment_is_not_used(tmp_path, monkeypatch):
    asked = []

    def download(*, source=None, **options):
        asked.append(source)

    client(monkeypatch, download)
    fetch_dataset("had", tmp_path / "d")
    assert asked == ["openneuro"]


def test_a_second_process_is_refused(tmp_path, monkeypatch):
    def twice(**_):
        client(monkeypatch, lambda **_: None)
        fetch_dataset("had", tmp_path / "d")

    client(monkeypatch, twice)
    with pytest.raises(FetchError, match="process"):
        fetch_dataset("had", tmp_path / "d")


def test_it_waits_inside_an_event_loop(tmp_path, monkeypatch):
    def download(**options):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        (options["target_dir"] / "file").write_text("x")

    client(monkeypatch, download)

    async def notebook():
        return (fetch_dataset("had", tmp_path / "d") / "file").exists()

    assert asyncio.run(notebook())


def test_a_folder_holds_one_version_of_one_data_set(calls, tmp_path):
    fetch_dataset("had", tmp_path / "d")
    with pytest.raises(CohortError, match=r"must hold ds004488 version 1\.1\.0, got .*1\.0\.0"):
        fetch_dataset("had", tmp_path / "d", version="1.1.0")
    with pytest.raises(CohortError, match="must hold ds001499"):
        fetch_dataset("bold5000", tmp_path / "d")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    with pytest.raises(CohortError, match="must be new or empty"):
        fetch_dataset("had", tmp_path / "other")
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hda", "Did you mean 'had'"),
        ("urgen", "is not published: ask the authors"),
        ("pereira", "must be a data set on OpenNeuro"),
        ("lebel", "version must be given for ds003020"),
        ("ds000001", "version must be given for ds000001"),
    ],
)
def test_what_cannot_be_fetched(calls, tmp_path, name, said):
    with pytest.raises(ConfigError, match=said):
        fetch_dataset(name, tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_the_command_and_a_missing_client(calls, tmp_path, monkeypatch, capsys):
    line = [
        "fetch",
        "ds003020",
        str(tmp_path / "d"),
        "--version",
        "3.0.0",
        "--include",
        "a/*",
        "b/*",
    ]
    assert cli.main(line) == 0, capsys.readouterr().err
    assert calls[0]["include"] == ["a/*", "b/*", "/*.json"]
    monkeypatch.setitem(sys.modules, "openneuro", None)
    with pytest.raises(MissingPartError, match=r"fastbrain-fmri\[fetch\]"):
        fetch_dataset("had", tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_the_options_are_those_of_the_client(calls, tmp_path, monkeypatch):
    fetch_dataset("had", tmp_path / "d")
    monkeypatch.undo()
    openneuro = pytest.importorskip("openneuro", exc_type=ImportError)
    known = inspect.signature(openneuro.download).parameters
    assert set(calls[0]) <= set(known)
