"""Published Q-Formers: the same numbers as transformers', on small random models of theirs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from fastbrain._io import sha256
from fastbrain.errors import CheckpointError
from fastbrain.llm4brain import (
    AdapterConfig,
    QFormer,
    QFormerConfig,
    load_qformer,
    load_video_branch,
)

CONTEXT = 20
CONFIG = QFormerConfig(
    dim=16, depth=3, heads=2, mlp_ratio=1.5, n_queries=5, cross_every=2, bert=True
)


def theirs(kind: str = "Blip2"):
    import transformers

    config = getattr(transformers, f"{kind}QFormerConfig")(
        vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=24, encoder_hidden_size=CONTEXT, cross_attention_frequency=2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}QFormerModel")(config).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def written(tmp_path, model, *, prefix="", **more):
    state = {prefix + k: v.contiguous().clone() for k, v in model.state_dict().items()}
    path = tmp_path / "weights.safetensors"
    save_file(state | more, path)
    return path


@pytest.mark.parametrize("prefix", ["", "qformer."])
def test_the_same_numbers_as_blip2(tmp_path, prefix):
    model, queries = theirs(), torch.randn(1, 5, 16)
    path = written(tmp_path, model, prefix=prefix, query_tokens=queries)
    ours = QFormer(CONFIG, CONTEXT, adapter=AdapterConfig(rank=2)).eval()
    said = load_qformer(ours, path)
    assert (said.fresh, said.unused) == ((), ())
    context = torch.randn(3, 7, CONTEXT)
    with torch.no_grad():
        expected = model(query_embeds=queries.expand(3, -1, -1), encoder_hidden_states=context)
        torch.testing.assert_close(ours(context), expected.last_hidden_state, rtol=1e-5, atol=1e-5)


def test_instructblip_leaves_its_text_behind(tmp_path):
    model = theirs("InstructBlip")
    ours = QFormer(CONFIG, CONTEXT).eval()
    said = load_qformer(ours, written(tmp_path, model))
    assert said.fresh == ("queries",)
    assert "embeddings.word_embeddings.weight" in said.unused
    assert "encoder.layer.1.intermediate.dense.weight" in said.unused
    assert "encoder.layer.1.intermediate_query.dense.weight" not in said.unused
    # what InstructBLIP computes for queries that see no text is what BLIP-2 computes
    blip = theirs()
    names = {k: v for k, v in model.state_dict().items() if k in blip.state_dict()}
    names |= {f"layernorm.{k}": model.state_dict()[f"embeddings.layernorm.{k}"]
              for k in ("weight", "bias")}  # fmt: skip
    blip.load_state_dict(names)
    context = torch.randn(2, 4, CONTEXT)
    with torch.no_grad():
        queries = ours.queries.expand(2, -1, -1)
        expected = blip(query_embeds=queries, encoder_hidden_states=context).last_hidden_state
        torch.testing.assert_close(ours(context), expected, rtol=1e-5, atol=1e-5)


def test_the_names_of_lavis(tmp_path):
    model = theirs()
    renamed = {}
    for key, value in model.state_dict().items():
        key = key.replace("attention.attention.", "attention.self.")
        key = key.replace("layernorm.", "embeddings.LayerNorm.")
        renamed[f"video_Qformer.bert.{key}"] = value.clone()
        renamed[f"Qformer.bert.{key}"] = value.clone() + 1
    renamed["video_query_tokens"], renamed["query_tokens"] = torch.ones(1, 5, 16), torch.zeros(1)
    path = tmp_path / "weights.safetensors"
    save_file(renamed, path)
    ours = QFormer(CONFIG, CONTEXT)
    with pytest.raises(CheckpointError, match=r"must hold one Q-Former, got \['"):
        load_qformer(ours, path)
    load_qformer(ours, path, prefix="video_Qformer.bert.")
    assert torch.equal(ours.queries, torch.ones(5, 16))
    up = model.state_dict()["encoder.layer.2.intermediate_query.dense.weight"]
    assert torch.equal(ours.blocks[2].mlp.up.weight, up)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(CONFIG, depth=2), "must have the Q-Former's 2 layers"),
        (replace(CONFIG, cross_every=1), r"must have blocks\.1\.cross"),
        (replace(CONFIG, mlp_ratio=2.0), "reshaped"),
        (replace(CONFIG, bert=False), "layout of BERT"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, config, message):
    path = written(tmp_path, theirs())
    qformer = QFormer(config, CONTEXT)
    before = {k: v.clone() for k, v in qformer.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_qformer(qformer, path)
    assert all(torch.equal(v, before[k]) for k, v in qformer.state_dict().items())


def test_the_whole_model_in_this_layout(make_model, small_config, voxels):
    config = replace(
        small_config, qformer=replace(small_config.qformer, bert=True, cross_every=2, depth=2)
    )
    assert make_model(config=config).brain_latents(voxels).shape == (3, 5, 20)


def test_a_whole_video_branch_of_video_llama(tmp_path, make_model, small_config):
    """Q-Former, queries, projection and places of frames, under the names of its files."""
    model = video_model(make_model, small_config)
    theirs_, more = theirs(), video_llama_parts()
    path = written(tmp_path, theirs_, prefix="video_Qformer.bert.", **more)
    said = load_video_branch(model, path)
    assert (said.fresh, said.sha256) == ((), sha256(path))
    seen = torch.randn(2, 2 * 4, CONTEXT)
    rows = more["video_frame_position_embedding.weight"]
    with torch.no_grad():
        placed = seen + rows[:2].repeat_interleave(4, dim=0)
        queries = more["video_query_tokens"].expand(2, -1, -1)
        read = theirs_(query_embeds=queries, encoder_hidden_states=placed).last_hidden_state
        expected = read @ more["llama_proj.weight"].T + more["llama_proj.bias"]
        torch.testing.assert_close(model.video_prefix(seen), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fault", ["another language model", "another encoder", "two"])
def test_what_does_not_belong_to_the_model_stays_fresh(tmp_path, make_model, small_config, fault):
    model = video_model(make_model, small_config)
    more = video_llama_parts()
    if fault == "another language model":
        more |= {"llama_proj.weight": torch.randn(18, 16), "llama_proj.bias": torch.randn(18)}
    elif fault == "another encoder":
        more["video_frame_position_embedding.weight"] = torch.randn(4, 7)
    else:
        more["audio.llama_proj.weight"] = torch.randn(16, 16)
    path = written(tmp_path, theirs(), prefix="video_Qformer.bert.", **more)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    if fault == "two":
        with pytest.raises(CheckpointError, match="one projection"):
            load_video_branch(model, path)
        return
    said = load_video_branch(model, path)
    kept = "projection" if fault == "another language model" else "frame_place"
    assert said.fresh == (kept,)
    for name, value in model.state_dict().items():
        if name.startswith(kept):
            assert torch.equal(value, before[name])


def video_llama_parts():
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "video_query_tokens": draw(1, 5, 16),
        "video_frame_position_embedding.weight": draw(4, CONTEXT),
        "llama_proj.weight": draw(16, 16),
        "llama_proj.bias": draw(16),
    }


class Seen(torch.nn.Module):
    """A frame encoder nobody asks: its features are given."""

    dim = CONTEXT


def video_model(make_model, small_config):
    config = replace(small_config, qformer=CONFIG)
    return make_model(config=config, video=Seen()).eval()
