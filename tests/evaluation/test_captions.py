"""Caption files of BrainHub are read, written and scored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastbrain.errors import InputError
from fastbrain.evaluation import (
    captions,
    read_caption_references,
    read_captions,
    rouge_l,
    score_captions,
    write_captions,
)

THINGS = ["cat", "dog", "boat", "kite", "train", "pizza", "clock", "horse"]
SAID = {str(i): f"a photo of a {thing} outside" for i, thing in enumerate(THINGS)}
KNOWN = {
    str(i): [f"a {thing} in the sun", f"the {thing} stands outside"]
    for i, thing in enumerate(THINGS)
}


def test_files_keep_their_content(tmp_path):
    assert read_captions(write_captions(tmp_path / "said.json", SAID)) == SAID
    found = read_caption_references(write_captions(tmp_path / "known.json", KNOWN))
    assert found == {key: tuple(value) for key, value in KNOWN.items()}
    # one text an image is a reference too
    assert read_caption_references(tmp_path / "said.json")["0"] == (SAID["0"],)


def test_captions_are_scored_beside_those_of_other_images():
    found = score_captions(SAID, KNOWN, meaning=False, count=40)
    for name in ("cider_d", "meteor", "rougeL_f", "words_two_way"):
        score = found.score(name)
        assert score.value > score.chance
        assert score.adjusted is not None
        assert score.interval is not None
    assert found.ids == tuple(KNOWN)
    assert not found.use.ignored
    best = [max(rouge_l([SAID[key]] * 2, KNOWN[key])[0][:, 2]) for key in KNOWN]
    assert found.score("rougeL_f").value == pytest.approx(sum(best) / len(best), abs=1e-12)


def test_a_decoder_that_writes_one_text_is_found():
    same = dict.fromkeys(SAID, "a photo of a thing")
    found = score_captions(same, KNOWN, meaning=False, count=20)
    assert found.score("cider_d").p == 1.0
    assert "hardly depend on the brain" in found.use.message


def test_spice_is_scored_or_absent_with_the_reason(monkeypatch):
    monkeypatch.setattr(captions, "spice_absent", lambda: "Java is not installed")
    found = score_captions(SAID, KNOWN, meaning=False, count=5)
    assert found.absent == {"spice": "Java is not installed"}
    assert not any(score.metric == "spice" for score in found.scores)
    monkeypatch.setattr(captions, "spice_absent", lambda: "")
    monkeypatch.setattr(captions, "spice", lambda said, known: (np.ones(len(said)), "SPICE"))
    found = score_captions(SAID, KNOWN, meaning=False, count=5)
    assert found.score("spice").chance == 1.0
    assert found.absent == {}


def test_blocks_keep_a_run_together():
    runs = {key: int(key) // 4 for key in SAID}
    # one text for all images of a run: the captions of other runs alone are wrong
    said = {key: "a cat" if run == 0 else "two dogs" for key, run in runs.items()}
    known = {key: [text] for key, text in said.items()}
    apart = score_captions(said, known, blocks=runs, meaning=False, count=20)
    assert apart.score("rougeL_f").chance == 0
    assert score_captions(said, known, meaning=False, count=20).score("rougeL_f").chance > 0.2
    few = {key: SAID[key] for key in list(SAID)[:5]}
    with pytest.raises(InputError, match="at most half"):
        score_captions(few, KNOWN, blocks=runs, meaning=False)


@pytest.mark.parametrize("content", ["[]", "{}", '{"0": 3}', '{"0": [1]}', '{"0": []}', "{"])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content)
    for read in (read_captions, read_caption_references):
        with pytest.raises(InputError, match=read.__name__):
            read(path)
        with pytest.raises(InputError, match=r"absent\.json: no such file"):
            read(tmp_path / "absent.json")
        with pytest.raises(InputError, match="a folder"):
            read(tmp_path)


def test_lists_are_no_captions(tmp_path):
    path = tmp_path / "known.json"
    path.write_text(json.dumps(KNOWN))
    with pytest.raises(InputError, match="one text an image"):
        read_captions(path)


def test_images_need_references():
    with pytest.raises(InputError, match="images with references, got none for 99"):
        score_captions({**SAID, "99": "a"}, KNOWN)
    with pytest.raises(InputError, match="blocks must name the run of every image, got none for 1"):
        score_captions(SAID, KNOWN, blocks={"0": 1})
    with pytest.raises(InputError, match="two or more images, got 1"):
        score_captions({"0": SAID["0"]}, KNOWN)
    with pytest.raises(InputError, match="one or more texts an image, got none for 0"):
        score_captions(SAID, {**KNOWN, "0": []})
    with pytest.raises(InputError, match="write_captions"):
        write_captions("x.json", {})
