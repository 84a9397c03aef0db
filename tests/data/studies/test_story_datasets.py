"""The clocks of public data sets of stories."""

from __future__ import annotations

import pytest

from fastbrain.data import STORY_DATASETS, Word, story_dataset, story_onsets
from fastbrain.data.studies.stories import lebel
from fastbrain.errors import CohortError, ConfigError, InputError

# a word in the middle of every volume of the stimulus
TICKS = [Word(f"v{i}", i + 0.4, i + 0.6) for i in range(100)]


def at(tr):
    return [Word(w.text, w.onset * tr, w.offset * tr) for w in TICKS]


@pytest.mark.parametrize("trim", [0, 5])
def test_rows_of_lebel_are_the_stimulus_from_five_and_the_trim(trim):
    data = lebel(trim)
    # the scanner runs for five volumes before the sound, from which the words are timed
    stimulus = ["-"] * 5 + [f"v{i}" for i in range(60)]
    rows = stimulus[5 + trim : len(stimulus) - trim]
    found = data.samples(at(2.0), n_volumes=len(rows), window=1, prompt=2)
    assert [s.text for s in found] == rows
    assert [s.start for s in found] == list(range(len(rows)))
    assert found[0].prompt == " ".join(stimulus[3 + trim : 5 + trim]).replace("- ", "").strip("-")
    assert data.onset("alternateithicatom") == 10.0
    assert lebel() == story_dataset("lebel")


@pytest.mark.parametrize(("task", "first"), [("pieman", 10), ("tunnel", 2), ("reach", 646)])
def test_stories_of_narratives_begin_where_their_task_says(task, first):
    data = story_dataset("narratives")
    found = data.samples(at(1.5), n_volumes=first + 20, task=task, window=1, prompt=0)
    assert found[0].text == "v0"
    assert found[0].start == first
    shifted = data.samples(at(1.5), n_volumes=20, onset_s=3.0, window=1, prompt=0)
    assert shifted[0].start == 2


def test_narratives_agree_with_their_own_events(real_data):
    files = sorted((real_data / "bids_narratives").glob("sub-*/func/*_events.tsv"))
    if not files:
        pytest.skip("no bids_narratives among the real data")
    data, seen = STORY_DATASETS["narratives"], set()
    for file in files:
        task = file.name.split("_task-")[1].split("_")[0]
        names = ["slumlord", "reach"] if task == "slumlordreach" else [task]
        assert story_onsets(file) == [data.onset(name) for name in names], file.name
        seen |= set(names)
    assert len(seen) >= 9


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'pieman'"):
        story_dataset("narratives").onset("piemann")
    with pytest.raises(ConfigError, match="Did you mean 'narratives'"):
        story_dataset("narrative")
    with pytest.raises(ConfigError, match="task must be one of"):
        story_dataset("narratives").samples(TICKS, n_volumes=10)
    with pytest.raises(InputError, match="trim must be 0 or more"):
        lebel(-1)
    (tmp_path / "e.tsv").write_text("onset\tduration\ttrial_type\n0\t3\tmusic\n")
    with pytest.raises(CohortError, match=r"trial_type 'story', got \['music'\]"):
        story_onsets(tmp_path / "e.tsv")
