"""The whole model: shapes, groups, the frozen LLM, and the answer loss against a naive loop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from nonzero_adapters import nonzero_adapters
from smol_twin import SEPARATOR, smol_tokenizer

from fastbrain.errors import ConfigError, InputError
from fastbrain.llm4brain import LLM4Brain, from_vision_model
from fastbrain.nn import Adapter

# fp32 log-softmax over 53 words through two layers, padded against unpadded
FP32 = {"rtol": 1e-4, "atol": 1e-4}


class Tokenizer:
    """Only what the model asks of a tokenizer."""

    def __init__(self, bos: int | None) -> None:
        self.bos_token_id = bos


def test_shapes(make_model, voxels, grid):
    model = make_model()
    assert model.encode(voxels).shape == (3, 1 + grid.n_tokens, 24)
    z, x = model.brain_latents(voxels), model.video_latents(torch.rand(3, 2, 3, 8, 8))
    assert z.shape == x.shape == (3, 5, 20)
    assert model.prefix(voxels).shape == (3, 5, 16)
    assert model.video_prefix(torch.rand(3, 2, 3, 8, 8)).shape == (3, 5, 16)
    assert model.pooled(z).shape == (3, 20)
    assert model.class_logits(model.pooled(z)).shape == (3, 4)


def test_flattened_latents_keep_every_query(make_model, small_config, voxels):
    model = make_model(config=replace(small_config, pool="flatten"))
    pooled = model.pooled(model.brain_latents(voxels))
    assert pooled.shape == (3, 5 * 20)
    assert model.class_logits(pooled).shape == (3, 4)


def test_the_video_branch_never_sees_adapters(make_model, voxels):
    model = make_model()
    frames = torch.rand(2, 2, 3, 8, 8)
    x, z = model.video_latents(frames), model.brain_latents(voxels)
    nonzero_adapters(model)
    assert torch.equal(model.video_latents(frames), x)
    assert not torch.allclose(model.brain_latents(voxels), z, atol=1e-3)


@pytest.mark.parametrize("bert", [False, True], ids=["ours", "bert"])
def test_fresh_adapters_leave_the_frozen_model_exactly_as_it_was(
    make_model, small_config, voxels, bert
):
    qformer = replace(small_config.qformer, bert=bert)
    config = replace(small_config, qformer=qformer)
    frozen = make_model(config=replace(config, adapter=replace(config.adapter, rank=0)))
    adapted = make_model(config=config)
    assert not [m for m in frozen.modules() if isinstance(m, Adapter)]
    assert [m for m in adapted.modules() if isinstance(m, Adapter)]
    found = adapted.load_state_dict(frozen.state_dict(), strict=False)
    assert all("adapter." in key for key in found.missing_keys)
    assert not found.unexpected_keys
    with torch.no_grad():
        assert torch.equal(adapted.prefix(voxels), frozen.prefix(voxels))
        frames = torch.rand(2, 2, 3, 8, 8)
        assert torch.equal(adapted.video_prefix(frames), frozen.video_prefix(frames))


def test_class_logits_are_cosines_over_temperature(make_model):
    model = make_model()
    with torch.no_grad():
        model.prototypes.mul_(3)
    features = model.prototypes.detach()[[2, 0]] * 5
    logits = model.class_logits(features, temperature=0.5)
    assert logits.argmax(1).tolist() == [2, 0]
    torch.testing.assert_close(logits.amax(1), torch.full((2,), 2.0))


def test_a_model_without_classes_says_so(make_model, small_config):
    model = make_model(config=replace(small_config, n_classes=0))
    with pytest.raises(InputError, match="n_classes"):
        model.class_logits(torch.randn(2, 20))


def test_every_parameter_is_in_exactly_one_group(make_model, small_config):
    model = make_model(config=replace(small_config, subjects="affine", people=("01",)))
    groups = model.parameter_groups()
    named = [name for group in groups.values() for name, _ in group]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters())
    # nothing external here, and no LoRA in the language model
    assert {name for name, named in groups.items() if not named} == {"vision", "llm_adapters"}


@pytest.mark.parametrize(
    "groups", [["bridge"], ["encoder_adapters", "qformer_adapters"], ["temperature", "video"]]
)
def test_set_trainable_trains_the_named_groups(make_model, groups):
    model = make_model()
    trained = model.set_trainable(groups)
    assert sorted(trained) == sorted(n for n, p in model.named_parameters() if p.requires_grad)
    expected = {n for g in groups for n, _ in model.parameter_groups()[g]}
    assert set(trained) == expected


def test_unknown_empty_and_frozen_groups_are_refused(make_model, small_config):
    model = make_model(config=replace(small_config, n_classes=0))
    with pytest.raises(ConfigError, match="Did you mean 'encoder_adapters'"):
        model.set_trainable(["encoder_adaptors"])
    with pytest.raises(ConfigError, match="must stay frozen"):
        model.set_trainable(["llm"])
    with pytest.raises(ConfigError, match="'prototypes' must have parameters"):
        model.set_trainable(["prototypes"])


def test_the_llm_is_frozen_in_evaluation_mode_and_not_saved(make_model):
    model = make_model().train()
    assert model.training
    assert model.qformer.training
    assert not any(m.training for m in model.llm.modules())
    assert not any(p.requires_grad for p in model.llm.parameters())
    state = model.state_dict()
    assert state
    assert not [k for k in state if k.startswith("llm.")]
    model.load_state_dict(state, strict=True)
    outer = torch.nn.ModuleDict({"inner": model})
    assert not [k for k in outer.state_dict() if "llm." in k]
    outer.load_state_dict(outer.state_dict(), strict=True)
    del state["bridge.map.weight"]
    with pytest.raises(RuntimeError, match=r"bridge\.map\.weight"):
        model.load_state_dict(state, strict=True)


def test_an_external_frame_encoder_stays_frozen_and_out_of_the_state(make_model):
    from transformers import ViTConfig, ViTModel

    vit = ViTConfig(
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        image_size=8,
        patch_size=4,
    )
    model = make_model(video=from_vision_model(ViTModel(vit)))
    assert model.video_latents(torch.rand(2, 2, 3, 8, 8)).shape == (2, 5, 20)
    assert not [k for k in model.state_dict() if k.startswith("video.")]
    with pytest.raises(ConfigError, match="must stay frozen"):
        model.set_trainable(["vision"])
    # where in the clip a frame is, it cannot say: that is learned
    assert model.set_trainable(["video"]) == ["frame_place"]
    frames = torch.rand(1, 1, 3, 8, 8).expand(2, 2, -1, -1, -1)
    seen = model.video(frames)
    assert torch.equal(model.video_latents(seen), model.video_latents(frames))
    turned = torch.cat([seen[:, 5:], seen[:, :5]], dim=1) + torch.arange(10)[:, None]
    back = torch.cat([turned[:, 5:], turned[:, :5]], dim=1)
    same = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(model.video_latents(turned), model.video_latents(back), **same)
    torch.nn.init.normal_(model.frame_place)
    assert not torch.allclose(model.video_latents(turned), model.video_latents(back), **same)
    with pytest.raises(InputError, match="2 frames"):
        model.video_latents(torch.rand(2, 9, 12))


def test_a_sequence_begins_with_what_begins_a_document(make_model):
    # its BOS begins the turns of a chat
    tokenizer = smol_tokenizer()
    model = make_model(text_tokenizer=tokenizer)
    assert model.start == (tokenizer.convert_tokens_to_ids(SEPARATOR),)
    assert make_model(text_tokenizer=Tokenizer(1)).start == (1,)
    assert make_model(text_tokenizer=Tokenizer(None)).start == ()


def naive_nll(model: LLM4Brain, prefix, prompts: list[list[int]], answers: list[list[int]]):
    """Sample by sample and token by token, through the LLM's own forward."""
    embed = model.llm.get_input_embeddings()
    totals = []
    for row, prompt, answer in zip(prefix, prompts, answers, strict=True):
        total = 0.0
        for t, token in enumerate(answer):
            words = embed(torch.tensor(prompt)) if prompt else embed.weight[:0]
            head = [words, row] if model.config.prompt_first else [row, words]
            bos = [embed(torch.tensor(model.start, dtype=torch.int64))]
            said = [embed(torch.tensor(answer[:t], dtype=torch.int64))]
            inputs = torch.cat([*bos, *head, *said])[None]
            logits = model.llm(inputs_embeds=inputs).logits[0, -1]
            total -= float(F.log_softmax(logits.double(), dim=-1)[token])
        totals.append(total)
    return torch.tensor(totals)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma2"])
@pytest.mark.parametrize("prompt_first", [False, True], ids=["prefix first", "prompt first"])
@pytest.mark.parametrize("bos", [None, 1], ids=["no bos", "bos"])
def test_answer_loss_equals_a_naive_loop(make_model, small_config, voxels, kind, prompt_first, bos):
    config = replace(small_config, prompt_first=prompt_first)
    model = make_model(kind, config, text_tokenizer=Tokenizer(bos))
    prompts, answers = [[5, 6, 7], [8], [9, 10]], [[20, 21, 2], [22, 23, 24, 25, 2], [26]]
    prompt_ids, prompt_mask = torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3, 3).bool()
    answer_ids, answer_mask = torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3, 5).bool()
    for i in range(3):
        prompt_ids[i, 3 - len(prompts[i]) :] = torch.tensor(prompts[i])
        prompt_mask[i, 3 - len(prompts[i]) :] = True
        answer_ids[i, : len(answers[i])] = torch.tensor(answers[i])
        answer_mask[i, : len(answers[i])] = True
    with torch.no_grad():
        prefix = model.prefix(voxels)
        expected = naive_nll(model, prefix, prompts, answers)
        arguments = (prefix, prompt_ids, answer_ids, answer_mask)
        nll = model.sequence_nll(*arguments, prompt_mask=prompt_mask)
        torch.testing.assert_close(nll.double(), expected.double(), **FP32)
        token = model.answer_loss(*arguments, prompt_mask=prompt_mask)
        sequence = model.answer_loss(*arguments, prompt_mask=prompt_mask, reduction="sequence")
    assert float(token) == pytest.approx(float(expected.sum()) / 9, rel=1e-4)
    assert float(sequence) == pytest.approx(float(expected.sum()) / 3, rel=1e-4)


def test_one_prompt_may_be_shared(make_model, voxels):
    model = make_model()
    answer, mask = torch.randint(3, 50, (3, 4)), torch.ones(3, 4, dtype=torch.bool)
    prefix = model.prefix(voxels)
    shared = model.sequence_nll(prefix, torch.tensor([7, 8]), answer, mask)
    each = model.sequence_nll(prefix, torch.tensor([[7, 8]] * 3), answer, mask)
    torch.testing.assert_close(shared, each)


def test_the_answer_loss_reaches_the_brain_through_the_frozen_llm(make_model, voxels):
    model = make_model()
    model.set_trainable(["tokenizer", "bridge"])
    answer, mask = torch.randint(3, 50, (3, 4)), torch.ones(3, 4, dtype=torch.bool)
    model.answer_loss(model.prefix(voxels), torch.tensor([7]), answer, mask).backward()
    assert model.tokenizer.weight.grad.abs().sum() > 0
    assert model.bridge.map.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.llm.parameters())


@pytest.mark.parametrize("fault", ["reduction", "mask", "prompt"])
def test_bad_arguments_are_refused(make_model, voxels, fault):
    model = make_model()
    answer, mask = torch.randint(3, 50, (3, 4)), torch.ones(3, 4, dtype=torch.bool)
    prompt, options = torch.tensor([7]), {}
    if fault == "reduction":
        options = {"reduction": "mean"}
    elif fault == "mask":
        mask = mask[:, 1:]
    else:
        prompt = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(InputError, match=fault):
        model.answer_loss(model.prefix(voxels), prompt, answer, mask, **options)
