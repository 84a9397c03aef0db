"""Objectives of the stages: what each loss is, and which groups of weights it reaches."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from nonzero_adapters import nonzero_adapters

from fastbrain import ops
from fastbrain.llm4brain.training import (
    ClipLoader,
    LossConfig,
    MaskedVoxels,
    StageOne,
    StageTwo,
    objectives,
    preset,
    video_targets,
)
from fastbrain.llm4brain.training.objectives import Captions, Pair
from fastbrain.llm4brain.training.presets import PRESETS

WORDS = ("ball", "box", "wall", "tree")
PROMPT = "What is it?"


def batch_of(loader):
    return next(iter(loader))


def moved(model, groups, loss):
    """Groups of which at least one parameter has a gradient; none outside `groups` may."""
    loss.backward()
    named = model.parameter_groups()
    assert all(p.grad is None for g in named if g not in groups for _, p in named[g])
    return {
        g for g in groups if any(p.grad is not None and p.grad.abs().sum() > 0 for _, p in named[g])
    }


BRAIN = {"tokenizer", "encoder_adapters", "bridge", "readout", "qformer_adapters"}


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("term", ["clip_loss", "l2l1_loss"])
def test_each_stage_one_loss_moves_the_groups_of_its_preset(
    model_for, make_loader, frames, term, name
):
    model, loader, config = model_for(name), make_loader(), preset("stage1", name)
    # where every B is zero, no A has a gradient
    nonzero_adapters(model, std=0.1)
    targets = video_targets(model, loader.trial_ids, frames)
    model.set_trainable(config.groups)
    terms = StageOne(model, config, targets)(batch_of(loader))
    reached = BRAIN | {"encoder"} | ({"temperature"} if term == "clip_loss" else set())
    expected = reached & set(config.groups)
    assert ("encoder" in expected) == (name == "fastbrain")
    assert moved(model, config.groups, terms[term]) == expected


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("term", ["answer_loss", "class_loss", "nc_loss", "es_loss"])
def test_each_stage_two_loss_moves_the_groups_of_its_preset(model_for, make_loader, term, name):
    model, loader = model_for(name), make_loader()
    config = preset("stage2", name)
    config = replace(config, losses=replace(config.losses, margin=0.0))
    nonzero_adapters(model, std=0.1)
    model.set_trainable(config.groups)
    target = make_loader(8, name="target")
    labels = {t: i % 4 for i, t in enumerate(loader.trial_ids)}
    stage = StageTwo(model, config, prompts=(PROMPT,), labels=labels, n_target=8).train()
    terms = stage(Pair(batch_of(loader), batch_of(target)))
    if term == "class_loss" and name.startswith("paper"):
        assert term not in terms  # the paper has none
        return
    reached = BRAIN if term == "answer_loss" else BRAIN | {"prototypes"}
    expected = reached & set(config.groups)
    assert expected >= {"bridge"}
    assert moved(model, config.groups, terms[term]) == expected


def test_stage_two_adds_its_terms_as_equation_six_says(make_model, make_loader):
    model, loader, target = make_model(), make_loader(), make_loader(8, name="target")
    losses = LossConfig(lambda_ce=0.3, eta=0.2, source_ce_weight=0.7, tau_nc=0.1, tau_cls=0.2)
    labels = {t: i % 4 for i, t in enumerate(loader.trial_ids)}
    stage = StageTwo(
        model, replace(preset("stage2"), losses=losses), prompts=(PROMPT,), labels=labels,
        n_target=8,
    ).train()  # fmt: skip
    pair = Pair(batch_of(loader), batch_of(target))
    stage.memory.copy_(F.normalize(torch.randn_like(stage.memory), dim=1))
    before = stage.memory.clone()
    terms = stage(pair)
    adaptation = terms["nc_loss"] + terms["es_loss"]
    expected = 0.3 * terms["answer_loss"] + 0.7 * 0.2 * adaptation + 0.7 * terms["class_loss"]
    torch.testing.assert_close(terms["loss"], expected)
    features = F.normalize(model.pooled(model.brain_latents(pair.target.voxels)), dim=1)
    nc = ops.neighborhood_clustering(
        features, model.unit_prototypes(), before, pair.target.indices,
        temperature=0.1, variant="dance",
    )  # fmt: skip
    torch.testing.assert_close(terms["nc_loss"], nc)
    # the memory waits for the optimiser, then takes the features from before the step
    assert torch.equal(stage.memory, before)
    with torch.no_grad():
        model.bridge.map.weight.add_(1)
    stage.after_step()
    rows = pair.target.indices
    torch.testing.assert_close(stage.memory[rows], features.detach())
    rest = [i for i in range(8) if i not in rows.tolist()]
    assert torch.equal(stage.memory[rest], before[rest])


def test_without_a_target_stage_two_is_the_answer_loss(make_model, make_loader):
    model = make_model()
    stage = StageTwo(model, preset("stage2"), prompts=(PROMPT,))
    terms = stage(batch_of(make_loader()))
    assert terms.keys() == {"loss", "answer_loss"}
    assert torch.equal(terms["loss"], terms["answer_loss"])


def test_surrogate_answers_replace_the_trials_texts(make_model, make_loader):
    model, loader = make_model().eval(), make_loader()
    batch = batch_of(loader)
    own = dict(zip(batch.trial_ids, batch.texts, strict=True))

    def loss(answers=None):
        stage = StageTwo(model, preset("stage2"), prompts=(PROMPT,), answers=answers)
        return stage(batch)["loss"]

    assert torch.equal(loss(own), loss())
    assert loss(dict.fromkeys(batch.trial_ids, "It is a tree tree tree.")) != loss()


def test_captions_train_the_video_branch_alone(make_model, frames):
    model, config = make_model(), preset("video")
    nonzero_adapters(model, std=0.1)
    model.set_trainable([*config.groups, "qformer_adapters"])
    texts = {f"t-{i}": f"It is a {WORDS[i]}." for i in range(4)}
    loader = ClipLoader(texts, frames, batch_size=4)
    loss = Captions(model, config, (PROMPT,))(batch_of(loader))["loss"]
    groups = [*config.groups, "qformer_adapters"]
    assert moved(model, groups, loss) == set(config.groups)


def test_pretraining_runs_without_adapters(make_model, make_loader):
    model = make_model()
    torch.manual_seed(0)
    before = MaskedVoxels(model, preset("pretrain"))
    batch = batch_of(make_loader())
    torch.manual_seed(1)
    first = before(batch)["loss"]
    nonzero_adapters(model, std=0.1)
    torch.manual_seed(1)
    assert torch.equal(before(batch)["loss"], first)


def test_noise_is_for_training_only(make_model, make_loader):
    model, batch = make_model(), batch_of(make_loader())
    stage = StageTwo(model, replace(preset("stage2"), noise_std=0.5), prompts=(PROMPT,))
    assert stage.train()(batch)["loss"] != stage(batch)["loss"]
    assert stage.eval()(batch)["loss"] == stage(batch)["loss"]


def test_a_sample_is_asked_what_its_text_answers(make_model, make_loader, monkeypatch):
    asked = []
    real = objectives.encode_prompts

    def listen(tokenizer, prompts, **options):
        asked.extend(prompts)
        return real(tokenizer, prompts, **options)

    monkeypatch.setattr(objectives, "encode_prompts", listen)
    stage = StageTwo(
        make_model(), preset("stage2"), prompts=("What?",), instructions={"t-1": PROMPT}
    )
    stage(next(iter(make_loader(4, shuffle=False))))
    assert asked == ["What?", PROMPT, "What?", "What?"]
