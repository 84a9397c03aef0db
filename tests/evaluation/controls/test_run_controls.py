"""One pass over all controls, with a decoder whose skill is known."""

from __future__ import annotations

import numpy as np
import pytest
from linear import Experiment, Ridge, embed

from fastbrain.errors import InputError
from fastbrain.evaluation import (
    Conditions,
    Moments,
    bleu,
    block_flip_p,
    correlations,
    gaussian_noise,
    phase_randomised,
    retrieval,
    rouge_l,
    run_controls,
    zero_brain,
)
from fastbrain.stats import derangements, permutation_p

NAMES = [
    "true brain",
    "deranged brain",
    "phase-randomised brain",
    "noise brain",
    "zero brain",
    "prompt alone",
    "untuned model",
    "majority text",
    "template text",
    "nearest training text",
]


def battery(experiment: Experiment, true: np.ndarray | None = None) -> tuple[Conditions, Ridge]:
    decoder = Ridge(experiment.train, experiment.train_texts)
    moments = Moments.of(experiment.train, fitted_on="train")
    n = len(experiment.texts)
    brains = {
        "true brain": experiment.test if true is None else true,
        "phase-randomised brain": phase_randomised(experiment.test, blocks=experiment.blocks),
        "noise brain": gaussian_noise(n, moments),
        "zero brain": zero_brain(1, moments),
    }
    partners = derangements(experiment.blocks, count=200)
    found = run_controls(
        decoder,
        brains,
        experiment.texts,
        partners,
        blocks=experiment.blocks,
        train_texts=experiment.train_texts,
        train_brains=experiment.train,
    )
    return found, decoder


@pytest.fixture(scope="module")
def decoded() -> tuple[Experiment, Conditions]:
    experiment = Experiment.draw(1.0)
    return experiment, battery(experiment)[0]


def test_every_control_is_there(decoded):
    experiment, found = decoded
    assert [control.name for control in found] == NAMES
    n = len(experiment.texts)
    for control in found:
        assert control.texts is None or len(control.texts) == n
        assert control.nll is None or control.nll.shape in ((n,), (200, n))
    assert found["untuned model"].nll is found["prompt alone"].nll
    assert "not tuned" in found["untuned model"].note
    assert "text decoded from the partner's brain" in found["deranged brain"].note
    assert len(set(found["zero brain"].texts)) == 1


def test_equals_one_run_a_permutation(decoded):
    """Likelihoods and texts are those of decoding every permuted data set by itself."""
    experiment, found = decoded
    decoder = Ridge(experiment.train, experiment.train_texts)
    n = len(experiment.texts)
    own = np.stack([np.arange(n)] * 2, axis=1)
    for r, partner in enumerate(found.partners[:5]):
        prefixes = decoder.read(experiment.test[partner])
        expected = decoder.score(prefixes, experiment.texts, own)
        np.testing.assert_allclose(found["deranged brain"].nll[r], expected, rtol=0, atol=1e-12)
        assert found.deranged_texts(r) == decoder.write(prefixes)


def test_no_pair_is_scored_twice():
    experiment = Experiment.draw(1.0)
    found, decoder = battery(experiment)
    n, kinds = len(experiment.texts), len(set(experiment.texts))
    assert decoder.scored <= n * kinds + 2 * n + 2 * kinds
    assert decoder.scored < 0.25 * n * (len(found.partners) + 1)


def test_equal_texts_after_different_prompts_are_different():
    experiment = Experiment.draw(1.0)
    options = {"blocks": experiment.blocks}
    partners, n = derangements(experiment.blocks, count=100), len(experiment.texts)
    counts = []
    for prompts in ([], ["then"] * n, [f"part {i}" for i in range(n)]):
        decoder = Ridge(experiment.train, experiment.train_texts)
        brains = {"true brain": experiment.test}
        found = run_controls(
            decoder, brains, experiment.texts, partners, prompts=prompts, **options
        )
        counts.append(decoder.scored)
    assert counts[0] == counts[1] < counts[2]
    # true and deranged brains, and the prompt alone once a prompt
    assert counts[2] == len(np.unique(partners * n + np.arange(n))) + 2 * n
    assert len(found["prompt alone"].nll) == n
    with pytest.raises(InputError, match="prompts must be all"):
        run_controls(decoder, brains, experiment.texts, partners, prompts=["x"], **options)


def test_a_decoder_beats_every_control(decoded):
    _, found = decoded
    scores = {score.control: score for score in found.scores()}
    assert list(scores) == [name for name in NAMES[1:] if found[name].nll is not None]
    for control, score in scores.items():
        assert score.mode == "teacher-forced"
        assert score.chance == 0.5
        assert score.interval.low > 0.5, control
        # six runs: no sign flip is below 1 / 64
        assert score.p == pytest.approx(1 / 201 if control == "deranged brain" else 1 / 64)


@pytest.mark.parametrize("kind", ["white", "autocorrelated"])
def test_noise_brings_every_metric_to_chance(kind):
    """The same trained decoder, with noise for a brain: nothing stands out any more."""
    tests: dict[str, list[float]] = {}
    for seed in range(8):
        experiment = Experiment.draw(1.0, seed=seed)
        moments = Moments.of(experiment.train, fitted_on="train")
        noise = (
            gaussian_noise(len(experiment.texts), moments, seed=seed)
            if kind == "white"
            else phase_randomised(
                Experiment.draw(0.0, seed=100 + seed).test, blocks=experiment.blocks, seed=seed
            )
        )
        found, decoder = battery(experiment, noise)
        truth, said = experiment.texts, found["true brain"].texts
        shuffled = [found.deranged_texts(r) for r in range(30)]
        similarity = correlations(decoder.read(noise), embed(truth))
        ranks = retrieval(similarity, experiment.blocks, count=200)
        score = found.pairwise()
        rouge = rouge_l(said, truth)[0][:, 2].mean()
        for name, value in {
            "pairwise": score.p,
            "two_way": ranks.two_way.p,
            "top1": ranks.top[1].p,
            "bleu1": permutation_p(
                bleu(said, truth, order=1).value, [bleu(s, truth, order=1).value for s in shuffled]
            ),
            "rougeL": permutation_p(rouge, [rouge_l(s, truth)[0][:, 2].mean() for s in shuffled]),
        }.items():
            tests.setdefault(name, []).append(value)
        assert abs(score.value - 0.5) < 0.15
        assert abs(ranks.two_way.value - 0.5) < 0.15
    for name, p in tests.items():
        # the mean of 8 uniform numbers has a standard deviation of 0.1
        assert 0.2 < np.mean(p) < 0.8, (name, p)


def test_block_flips_by_hand():
    # two blocks with sums 3 and 1: of four sign patterns one is as large
    assert block_flip_p([1.0, 2.0, 1.0], ["a", "a", "b"]) == 0.25
    assert block_flip_p([-1.0, -2.0, -1.0], ["a", "a", "b"]) == 1.0


def test_what_is_missing_is_said():
    experiment = Experiment.draw(1.0)
    decoder = Ridge(experiment.train, experiment.train_texts)
    partners = derangements(experiment.blocks, count=2)
    options = {"blocks": experiment.blocks}
    with pytest.raises(InputError, match="'true brain'"):
        run_controls(decoder, {}, experiment.texts, partners, **options)
    brains = {"true brain": experiment.test[:5]}
    with pytest.raises(InputError, match="120 brains"):
        run_controls(decoder, brains, experiment.texts, partners, **options)
    found = run_controls(
        decoder, {"true brain": experiment.test}, experiment.texts, partners, **options
    )
    with pytest.raises(InputError, match="must be one of"):
        found["zero brain"]
    with pytest.raises(InputError, match="likelihoods of its own"):
        found.pairwise("true brain")
