"""The reversed gradient reaches the encoder; the probe sees what a weak adversary does not."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fastbrain.errors import InputError
from fastbrain.vqlm import (
    ContrastiveAlignment,
    DomainClassifier,
    probe_domains,
    reversal_strength,
    reverse_gradient,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def test_strength_is_ganins_schedule():
    assert reversal_strength(0.0) == 0.0
    assert reversal_strength(0.1) == pytest.approx(0.46211715726)
    assert reversal_strength(1.0) == pytest.approx(0.99990920426)


def test_the_gradient_is_turned_and_the_value_is_not():
    x = normal(3, 4).requires_grad_()
    y = reverse_gradient(x, 0.3)
    assert torch.equal(y, x)
    y.backward(torch.ones(3, 4))
    torch.testing.assert_close(x.grad, torch.full((3, 4), -0.3))


@pytest.mark.parametrize("text_dim", [6, 9])
def test_brain_gets_the_reversed_gradient_and_text_none(text_dim):
    torch.manual_seed(0)
    classifier = DomainClassifier(6, text_dim, hidden=8)
    brain, text = normal(5, 6).requires_grad_(), normal(7, text_dim).requires_grad_()
    terms = classifier(brain, text, strength=0.5)
    logits = classifier.classifier(classifier.to_text(brain)), classifier.classifier(text)
    losses = [F.cross_entropy(part, torch.full((len(part),), k)) for k, part in enumerate(logits)]
    torch.testing.assert_close(terms.loss, (losses[0] + losses[1]) / 2)
    terms.loss.backward()
    plain = torch.autograd.grad(losses[0] / 2, brain)[0]
    torch.testing.assert_close(brain.grad, -0.5 * plain)
    assert text.grad is None
    assert all(p.grad.abs().sum() > 0 for p in classifier.parameters())


def test_an_adversarial_encoder_ends_where_the_text_is():
    torch.manual_seed(0)
    encoder = torch.nn.Linear(4, 4)
    torch.nn.init.eye_(encoder.weight)
    torch.nn.init.constant_(encoder.bias, 2.0)
    classifier = DomainClassifier(4, 4, hidden=16)
    parts = [*encoder.parameters(), *classifier.parameters()]
    optimizer = torch.optim.Adam(parts, lr=0.01, betas=(0.5, 0.9))
    before = probe_domains(encoder(normal(400, 4)), normal(400, 4, seed=1)).accuracy
    for step in range(500):
        brain, text = normal(64, 4, seed=step), normal(64, 4, seed=step + 1000)
        optimizer.zero_grad()
        classifier(encoder(brain), text, strength=1.0).loss.backward()
        optimizer.step()
    after = probe_domains(encoder(normal(400, 4)), normal(400, 4, seed=1)).accuracy
    assert before > 0.95
    assert after < 0.7


def test_one_distribution_is_at_chance_and_two_apart_are_told():
    same = probe_domains(normal(600, 8), normal(500, 8, seed=1))
    assert same.accuracy == pytest.approx(0.5, abs=0.07)
    assert same.distance == pytest.approx(4 * (same.accuracy - 0.5))
    apart = probe_domains(normal(600, 8) + 5, normal(500, 8, seed=1))
    assert apart.accuracy > 0.99
    assert apart.distance > 1.9
    assert (same.n_brain, same.n_text) == (300, 250)


def test_the_probe_sees_a_difference_of_spread_that_no_line_can_cut():
    assert probe_domains(4 * normal(600, 8), normal(600, 8, seed=1)).accuracy > 0.85


def test_recordings_are_not_on_both_sides():
    # each recording has a place of its own, text lies among them: nothing general to learn
    places = 3 * normal(12, 8)
    brain = (places[:, None] + 0.1 * normal(12, 30, 8)).flatten(0, 1)
    text = 3 * normal(300, 8, seed=4)
    groups = [i // 30 for i in range(360)]
    honest = probe_domains(brain, text, groups=groups).accuracy
    assert probe_domains(brain, text).accuracy > honest + 0.1


def test_the_probe_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    probe_domains(normal(20, 3), normal(20, 3))
    found = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(found, torch.rand(3))


@pytest.mark.parametrize(
    ("brain", "text", "groups"),
    [
        (normal(9, 3), normal(9, 4), None),
        (normal(9, 3), normal(1, 3), None),
        (normal(9, 3), normal(9, 3), [0] * 9),
        (normal(9, 3) * torch.nan, normal(9, 3), None),
    ],
)
def test_probes_of_nothing(brain, text, groups):
    with pytest.raises(InputError, match="probe_domains"):
        probe_domains(brain, text, groups=groups)


def test_contrast_of_pairs():
    torch.manual_seed(0)
    layer = ContrastiveAlignment(6, 5, width=4)
    brain, text = normal(8, 6).requires_grad_(), normal(8, 5).requires_grad_()
    loss = layer(brain, text)
    one, other = F.normalize(layer.brain(brain), dim=1), F.normalize(layer.text(text), dim=1)
    logits = one @ other.T / 0.07
    both = F.log_softmax(logits, 0).diag() + F.log_softmax(logits, 1).diag()
    torch.testing.assert_close(loss, -both.mean() / 2)
    loss.backward()
    assert text.grad is None
    assert brain.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    with pytest.raises(InputError, match="two pairs or more, got 1 and 1"):
        layer(brain[:1], text[:1])
