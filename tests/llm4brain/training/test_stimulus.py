"""A store without clips is trained on its texts, unless clips are asked for."""

from __future__ import annotations

import json

import pytest

from fastbrain.cli import main
from fastbrain.errors import ConfigError
from fastbrain.llm4brain.training import RunConfig, train_llm4brain
from fastbrain.llm4brain.training.stimuli import with_stimulus

SMALL = {
    "prompts": ["what is there ?"],
    "model": {
        "encoder": {"dim": 16, "depth": 1, "heads": 2},
        "qformer": {"dim": 16, "depth": 1, "heads": 2, "n_queries": 4},
    },
    "stage1": {"epochs": 1},
    "stage2": {"epochs": 1},
}


def test_the_stimulus_follows_the_store(store):
    found = with_stimulus(store, RunConfig())
    assert (found.stimulus, found.video) == ("text", None)
    assert with_stimulus(store, RunConfig(stimulus="text")) == found
    with pytest.raises(ConfigError, match=r"got \d+ of \d+ trials without one.*--stimulus text"):
        with_stimulus(store, RunConfig(stimulus="clips"))


def test_clips_that_are_missing_are_refused_before_anything_is_written(store, tmp_path):
    with pytest.raises(ConfigError, match="unless every trial has a clip"):
        train_llm4brain(store, tmp_path / "run", RunConfig(stimulus="clips"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [[], ["--stimulus", "text"]])
def test_the_command_trains_on_texts(store, language_folder, tmp_path, capsys, options):
    (tmp_path / "config.json").write_text(json.dumps(SMALL))
    run = tmp_path / "run"
    command = ["train", str(store.path), str(run), "--llm", str(language_folder), *options]
    command += ["--config", str(tmp_path / "config.json"), "--allow-leak", "a test"]
    assert main([*command, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert ("text\n" if options else "text, as the store has no clips\n") in dry
    assert "stages       stage1, stage2\n" in dry
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "stages       stage1, stage2\n" in said
    assert said in dry
    saved = json.loads((run / "config.json").read_text())["config"]
    assert (saved["stimulus"], saved["video"]) == ("text", None)


def test_the_command_refuses_clips_that_are_not_there(store, tmp_path, capsys):
    command = ["train", str(store.path), str(tmp_path / "run"), "--stimulus", "clips"]
    for more in ([], ["--dry-run"]):
        assert main([*command, *more]) == 1
        assert "Use --stimulus text." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
