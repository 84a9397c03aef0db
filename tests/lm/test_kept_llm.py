"""The language model of a run: in its folder, or found again by commit and digest."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastbrain.errors import CheckpointError, ConfigError
from fastbrain.llm4brain import ModelCard, from_pretrained, save_pretrained
from fastbrain.lm import load_llm, small_llm
from fastbrain.lm.kept_llm import LLMRecord, carry_llm, find_llm, keep_llm, kept_llm
from fastbrain.lm.word_lm import word_tokenizer

CORPUS = ["the dog runs", "a cat sleeps"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return small_llm(CORPUS, cache_dir=cache, dim=16, depth=1, heads=2, steps=1)


@pytest.fixture
def folder(made, tmp_path):
    """A language model in a cache that is emptied later."""
    return Path(shutil.copytree(made, tmp_path / "cache" / "llm"))


def test_a_local_model_is_copied_and_needs_its_folder_no_more(folder, tmp_path):
    run = tmp_path / "run"
    record = keep_llm(folder, run)
    assert (record.kind, record.name) == ("copy", str(folder))
    assert kept_llm(run) == record
    shutil.rmtree(folder.parent)
    assert find_llm(record, run) == run / "llm"
    moved = run.rename(tmp_path / "elsewhere")
    load_llm(str(find_llm(kept_llm(moved), moved)))


def test_a_large_model_is_recorded_by_its_absolute_path(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.chdir(folder.parent)
    record = keep_llm("llm", run, limit_bytes=100)
    assert (record.kind, record.name) == ("folder", str(folder))
    assert not (run / "llm").exists()
    monkeypatch.chdir(tmp_path)
    assert find_llm(record, run) == folder
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="must be there as it was"):
        find_llm(record, run)


def test_a_saved_model_finds_the_copy_beside_it(make_model, voxels, tmp_path):
    folder, run = tmp_path / "given", tmp_path / "run"
    model = make_model()
    model.llm.save_pretrained(folder)
    vocabulary = model.llm.config.vocab_size
    tokenizer = word_tokenizer([f"w{i}" for i in range(vocabulary - 4)])
    tokenizer.save_pretrained(folder)
    record = keep_llm(folder, run)
    save_pretrained(model, run / "model", ModelCard(record.name, 2.0, language=record))
    shutil.rmtree(folder)
    moved = run.rename(tmp_path / "moved")
    again = from_pretrained(moved / "model")
    assert again.card.language == record
    assert torch.equal(again.prefix(voxels), model.prefix(voxels))
    (moved / "llm" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="the language model of the run"):
        from_pretrained(moved / "model")


@pytest.mark.parametrize(
    "name", ["special_tokens_map.json", "added_tokens.json", "chat_template.jinja"]
)
def test_a_file_added_to_the_copy_is_refused(folder, tmp_path, name):
    record = keep_llm(folder, tmp_path / "run")
    shutil.rmtree(folder)
    (tmp_path / "run" / "llm" / name).write_text("{}")
    with pytest.raises(CheckpointError, match=f"a file that was not there, {name}"):
        find_llm(record, tmp_path / "run")


def test_the_original_in_place_of_a_lost_copy_is_noted(folder, tmp_path, capsys):
    record = keep_llm(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "llm")
    assert find_llm(record, tmp_path / "run") == folder
    assert "the run's own copy" in capsys.readouterr().err


@pytest.mark.parametrize("fault", ["flipped", "gone", "weights added", "code added"])
def test_another_model_in_its_place_is_refused(folder, tmp_path, fault):
    run = tmp_path / "run"
    record = keep_llm(folder, run)
    shutil.rmtree(folder)
    weights = run / "llm" / "model.safetensors"
    if fault == "flipped":
        broken = bytearray(weights.read_bytes())
        broken[-1] ^= 1
        weights.write_bytes(bytes(broken))
    elif fault == "gone":
        (run / "llm" / "tokenizer.json").unlink()
    elif fault == "weights added":
        shutil.copy(weights, run / "llm" / "other.safetensors")
        index = {"weight_map": {"a": "other.safetensors"}}
        (run / "llm" / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        (run / "llm" / "processor_config.json").write_text('{"auto_map": {"AutoModel": "x.X"}}')
    with pytest.raises(CheckpointError, match="must be there as it was"):
        find_llm(record, run)


def test_a_hub_model_is_recorded_with_commit_and_digests(folder, tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    commit, asked = "c0ffee" * 6, []
    snapshot = folder.rename(folder.parent / commit)

    def download(name, *, revision, allow_patterns):
        asked.append(revision)
        return str(snapshot)

    monkeypatch.setattr(hub, "snapshot_download", download)
    run = tmp_path / "run"
    record = keep_llm("lab/model", run)
    assert (record.kind, record.name, record.revision) == ("hub", "lab/model", commit)
    assert set(record.files) >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert not (run / "llm").exists()
    asked.clear()
    assert find_llm(record, tmp_path) == snapshot
    assert set(asked) == {commit}
    with pytest.raises(CheckpointError, match=f"'lab/model' at {commit}"):
        find_llm(replace(record, files=record.files | {"config.json": "0" * 64}), run)
    # a run that starts from this one names the same commit
    other = tmp_path / "other"
    assert carry_llm(record, record.name, run, other) == record == kept_llm(other)


def test_a_run_that_starts_from_another_has_a_copy_of_its_own(folder, tmp_path):
    record = keep_llm(folder, tmp_path / "a")
    shutil.rmtree(folder)
    carried = carry_llm(record, record.name, tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    assert find_llm(carried, tmp_path / "b") == tmp_path / "b" / "llm"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "pickle"},
        {"revision": "c0ffee"},
        {"files": {}},
        {"files": {"../model.safetensors": "0"}},
        {"files": {"a": 3}},
        {"name": None},
        {"more": 1},
    ],
)
def test_a_damaged_record_is_an_error_of_ours(folder, tmp_path, change):
    keep_llm(folder, tmp_path)
    path = tmp_path / "llm.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=r"llm\.json"):
        kept_llm(tmp_path)


def test_a_record_without_files_is_refused():
    with pytest.raises(ConfigError, match="files names without a path"):
        LLMRecord("copy", "x")
