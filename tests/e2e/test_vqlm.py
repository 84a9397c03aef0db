"""A language model on codes, from a folder of series to scores beside baselines."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from events import check_events
from tiny_vlm import save_tiny_vlm

import fastbrain as fb
from fastbrain.cli import main
from fastbrain.data import (
    ConnectomeStudy,
    RestDesign,
    read_connectomes,
    read_resting,
    resting_study,
    simulate_rest,
    write_connectomes,
    write_resting,
)
from fastbrain.errors import CheckpointError, CohortError, ConfigError, InputError, SplitError
from fastbrain.evaluation import Score
from fastbrain.lm import CodeVocabulary, load_llm
from fastbrain.lm.number_lines import NumberLines
from fastbrain.vqlm import load_vq
from fastbrain.vqlm.connectivity_words import load_words
from fastbrain.vqlm.evaluate import VQLMResult, evaluate_vqlm
from fastbrain.vqlm.predict import predict_people
from fastbrain.vqlm.training.config import VQLMConfig
from fastbrain.vqlm.training.image_baseline import image_predictions, series_image
from fastbrain.vqlm.training.people import part_people
from fastbrain.vqlm.training.pipeline import train_vqlm

pytestmark = pytest.mark.slow

SMALL = {
    "coder_epochs": 2,
    "domain": 1.0,
    "steps": 4,
    "image_steps": 3,
    "encoder_steps": 3,
    "vlm_steps": 2,
    "tune": {"name": "tune", "epochs": 2, "batch_size": 8},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study, its configuration and a finished run."""
    root = tmp_path_factory.mktemp("vqlm")
    write_resting(
        resting_study(simulate_rest(RestDesign(people=20, regions=4, frames=80))), root / "study"
    )
    vlm = save_tiny_vlm(root / "vlm")
    (root / "config.json").write_text(json.dumps({**SMALL, "vlm": str(vlm)}))
    arguments = ["--config", str(root / "config.json"), "--log", "tensorboard"]
    assert main(["train", "vq-lm", str(root / "study"), str(root / "run"), *arguments]) == 0
    return root


def test_a_run_holds_models_split_and_scores(done):
    run, study = done / "run", read_resting(done / "study")
    check_events(run)
    split = json.loads((run / "split.json").read_text())
    assert sorted(p for people in split.values() for p in people) == sorted(study.series)
    coder, card = load_vq(run / "coder")
    assert card.fitted_on == tuple(split["train"])
    _, tokenizer = load_llm(str(run / "llm"))
    assert CodeVocabulary.find(tokenizer).codes == coder.config.quantiser.size
    for folder, said in ((run, "11 people of the training part"), (run / "coder", "11 runs")):
        text = (folder / "README.md").read_text()
        assert said in text
        assert "Do not use it on anyone without consent" in text
        assert str(done) not in text
    words = load_words(run / "words")
    assert words.fitted_on == card.fitted_on
    assert NumberLines.find(tokenizer).lines == len(words.scale)
    metrics = json.loads((run / "metrics.json").read_text())
    ways = {score["group"] for score in metrics["scores"]}
    assert {"digits", "digits, calibrated", "head", "image", "mean", "connectivity ridge"} <= ways
    assert {"vision-language model", "encoder and language model", "connectivity SVR"} <= ways
    scores = {(score["group"], score["metric"]): score for score in metrics["scores"]}
    narrow = scores["mean", "sd_ratio"]
    assert (narrow["value"], narrow["p"], narrow["interval"]["high"]) == (0, None, 0)
    slope = scores["connectivity ridge", "prediction_slope"]
    told = [metrics["predicted"]["connectivity ridge"][p] for p in split["test"]]
    true = [study.numbers("age")[p] for p in split["test"]]
    assert slope["value"] == pytest.approx(np.polyfit(true, told, 1)[0])
    assert slope["interval"]["low"] < slope["value"] < slope["interval"]["high"]
    assert all(s["adjusted"] >= s["p"] for s in metrics["scores"] if s["p"] is not None)
    assert all(s["n"] == len(split["test"]) for s in metrics["scores"])
    assert set(metrics["predicted"]["digits"]) == set(split["test"])
    ages = study.numbers("age")
    mean = np.mean([ages[p] for p in split["train"]])
    assert list(metrics["predicted"]["mean"].values()) == pytest.approx([mean] * len(split["test"]))
    assert 0 < metrics["coding"]["adversary"] < 1
    assert metrics["coding"]["probe"]["accuracy"] > 0.5
    assert metrics["coding"]["probe"]["map"] == "aligned"
    assert metrics["coding"]["code_start"] == "aligned"
    found = [Score.from_json(score) for score in metrics["scores"]]
    table = VQLMResult("scale", found, metrics["coding"], None, metrics["predicted"]).table()
    assert "| mae | chance | p | p, FDR | r | prediction_slope | sd_ratio | n |" in table
    low, high = slope["interval"]["low"], slope["interval"]["high"]
    assert f"| {slope['value']:.2f} [{low:.2f}, {high:.2f}] |" in table


def test_labels_are_said_in_words(done, tmp_path):
    study, run = read_resting(done / "study"), tmp_path / "run"
    asked = {"target": "age_group", "kind": "label", "question": "is this person old or young ?"}
    train_vqlm(study, run, VQLMConfig.from_dict({**SMALL, **asked, "domain": 0.0}))
    result = evaluate_vqlm(run, study)
    tests = json.loads((run / "split.json").read_text())["test"]
    for way in ("words", "head", "image", "encoder and language model", "mean"):
        odds = np.array([result.predicted[way][p] for p in tests])
        assert odds.shape == (len(tests), 2)
        np.testing.assert_allclose(odds.sum(axis=1), 1, atol=1e-6)
    scores = {(s.group, s.metric): s for s in result.scores}
    assert scores["mean", "auroc"].value == 0.5
    assert scores["words", "auroc"].chance is not None
    assert result.coding["adversary"] is None
    assert "balanced_accuracy" in result.table()
    for row in study.table.values():
        row["age_group"] = "old"
    with pytest.raises(CohortError, match="two labels"):
        train_vqlm(study, tmp_path / "other", VQLMConfig.from_dict({**SMALL, **asked}))


def test_going_on_with_a_finished_run_changes_nothing(done):
    run = done / "run"
    before = (run / "llm" / "model.safetensors").read_bytes()
    config = VQLMConfig.from_dict({**SMALL, "vlm": str(done / "vlm")})
    train_vqlm(read_resting(done / "study"), run, config, resume=True)
    assert (run / "llm" / "model.safetensors").read_bytes() == before
    with pytest.raises(CheckpointError, match="another configuration"):
        train_vqlm(
            read_resting(done / "study"),
            run,
            VQLMConfig.from_dict({**SMALL, "seed": 1}),
            resume=True,
        )


def test_scores_are_of_the_people_of_training(done):
    study = read_resting(done / "study")
    study.series.pop(next(iter(study.series)))
    with pytest.raises(CheckpointError, match="people of training"):
        evaluate_vqlm(done / "run", study)


def test_a_family_is_never_parted(done):
    study = read_resting(done / "study")
    for i, row in enumerate(study.table.values()):
        row["family"] = f"f{i // 2}"
    for seed in range(5):
        parts = part_people(study, VQLMConfig(seed=seed, val_part=0.2))
        sides = {row["family"]: set() for row in study.table.values()}
        for part, people in parts.items():
            for person in people:
                sides[study.table[person]["family"]].add(part)
        assert all(len(found) == 1 for found in sides.values())
    for row in study.table.values():
        row["family"] = "one"
    with pytest.raises(SplitError, match="families"):
        part_people(study, VQLMConfig())


SPOKEN = {
    "words": {"components": 12, "jitter": 0.1},
    "tune": {"name": "tune", "epochs": 10, "batch_size": 8, "optim": {"lr": 3e-3}},
}


def connectomes(seed=0, effect=1.0):
    """A study of connectomes of simulated people whose connectivity depends on age."""
    design = RestDesign(people=60, regions=8, frames=400, seed=seed, effect=effect)
    recorded = resting_study(simulate_rest(design))
    rows, columns = np.tril_indices(8, -1)
    found = {p: np.corrcoef(values)[rows, columns] for p, values in recorded.series.items()}
    return ConnectomeStudy(found, recorded.table, recorded.regions)


def mae(metrics, way):
    (found,) = [s for s in metrics["scores"] if s["group"] == way and s["metric"] == "mae"]
    return found


def test_ages_are_read_from_connectomes_and_written_in_digits(tmp_path):
    write_connectomes(connectomes(), tmp_path / "study")
    (tmp_path / "config.json").write_text(json.dumps(SPOKEN))
    line = ["train", "vq-lm", str(tmp_path / "study"), str(tmp_path / "run")]
    assert main([*line, "--config", str(tmp_path / "config.json")]) == 0
    run = tmp_path / "run"
    metrics = json.loads((run / "metrics.json").read_text())
    told = mae(metrics, "digits")
    assert told["value"] < 0.75 * mae(metrics, "mean")["value"]
    assert told["p"] <= 0.05
    assert set(metrics["predicted"]) == {
        "digits",
        "digits, likeliest",
        "digits, calibrated",
        "mean",
        "connectivity ridge",
        "connectivity SVR",
    }
    assert metrics["spelled"] > 0.5
    assert metrics["coding"] == {}
    assert not (run / "coder").exists()
    split = json.loads((run / "split.json").read_text())
    assert load_words(run / "words").fitted_on == tuple(split["train"])
    # the same people, told from their study alone
    assert (
        main(
            [
                "decode",
                str(run),
                "--study",
                str(tmp_path / "study"),
                "--out",
                str(tmp_path / "told.tsv"),
            ]
        )
        == 0
    )
    rows = [line.split("\t") for line in (tmp_path / "told.tsv").read_text().splitlines()[1:]]
    ages = {name: float(age) for name, age, *_ in rows}
    for person, value in metrics["predicted"]["digits, calibrated"].items():
        assert ages[person] == pytest.approx(value, abs=0.01)
    read = fb.pipeline("brain-to-text", model=run)
    said = {row["participant_id"]: row["text"] for row in read(tmp_path / "study")}
    assert said == {name: f"{age:.2f}" for name, age in ages.items()}
    with pytest.raises(InputError, match="a study of people or its folder for a run of vq-lm"):
        read("bold.nii")
    with pytest.raises(InputError, match="sampling must be left out for a run of vq-lm"):
        fb.pipeline("brain-to-text", model=run, sampling=fb.Sampling())
    other = resting_study(simulate_rest(RestDesign(people=4, regions=8, frames=80)))
    with pytest.raises(InputError, match="must be of connectomes"):
        predict_people(run, other)
    turned = connectomes()
    turned = replace(turned, regions=turned.regions[::-1])
    with pytest.raises(CheckpointError, match="regions must be those of training"):
        predict_people(run, turned)
    # a run that goes on when it is finished is the same
    before = (run / "llm" / "model.safetensors").read_bytes()
    config = VQLMConfig.from_dict(SPOKEN)
    train_vqlm(read_connectomes(tmp_path / "study"), run, config, resume=True)
    assert (run / "llm" / "model.safetensors").read_bytes() == before


def test_ages_that_connectomes_do_not_hold_are_not_found(tmp_path):
    study, config = connectomes(effect=0.0), VQLMConfig.from_dict(SPOKEN)
    train_vqlm(study, tmp_path / "run", config)
    metrics = evaluate_vqlm(tmp_path / "run", study).to_json()
    told = mae(metrics, "digits")
    assert told["value"] > 0.95 * mae(metrics, "mean")["value"]
    assert told["p"] > 0.05
    with pytest.raises(ConfigError, match="components for connectomes"):
        train_vqlm(
            study, tmp_path / "other", VQLMConfig.from_dict({**SPOKEN, "words": {"components": 0}})
        )
    assert not (tmp_path / "other").exists()


def test_bad_input_is_refused_before_anything_is_written(done, tmp_path):
    study = read_resting(done / "study")
    with pytest.raises(CohortError, match="iq"):
        train_vqlm(study, tmp_path / "run", VQLMConfig(target="iq"))
    with pytest.raises(InputError, match="must have 85 frames for 17 steps of 5, got 80"):
        train_vqlm(study, tmp_path / "run", VQLMConfig(steps=17))
    assert not (tmp_path / "run").exists()


def test_a_picture_shows_regions_over_time():
    wave = np.sin(np.arange(64) / 5)
    picture = series_image(np.stack([wave, -wave]), 16)
    assert picture.shape == (3, 16, 16)
    shades = picture[0].numpy()
    assert np.corrcoef(shades[0], -shades[-1])[0, 1] > 0.99
    assert 0 <= shades.min() < 0.3 < 0.7 < shades.max() <= 1


def test_a_vision_model_learns_what_a_picture_shows():
    rng = np.random.default_rng(0)
    target = {str(i): float(i % 2) for i in range(24)}
    # slow or fast: a texture
    series = {
        p: np.sin(np.arange(80) * (0.2 + 0.6 * v) + rng.uniform(0, 6, (8, 1)))
        for p, v in target.items()
    }
    people = list(series)
    told = image_predictions(series, target, train=people[:16], steps=60, frames=40)
    unseen = people[16:]
    assert max(told[p] for p in unseen[::2]) < min(told[p] for p in unseen[1::2])
