"""Vision models of transformers as frame encoders, from local folders of random weights."""

from __future__ import annotations

import json

import pytest
import torch

from fastbrain.errors import InputError
from fastbrain.llm4brain import load_vision_model

SIZES = {
    "hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
}  # fmt: skip
PIXELS = {"image_size": 8, "patch_size": 4}


def model_of(kind):
    import transformers as t

    text = {**SIZES, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "vit":
            return t.ViTModel(t.ViTConfig(**SIZES, **PIXELS))
        if kind == "clip":
            return t.CLIPModel(t.CLIPConfig(vision_config={**SIZES, **PIXELS}, text_config=text))
        if kind == "siglip":
            config = t.SiglipConfig(vision_config={**SIZES, **PIXELS}, text_config=text)
            return t.SiglipModel(config)
        opt = {"model_type": "opt", "hidden_size": 12, "num_hidden_layers": 1, "ffn_dim": 8,
               "num_attention_heads": 2, "vocab_size": 20, "word_embed_proj_dim": 12}  # fmt: skip
        qformer = {**SIZES, "hidden_size": 16, "encoder_hidden_size": 12, "vocab_size": 20}
        config = t.Blip2Config(
            vision_config={**SIZES, **PIXELS}, qformer_config=qformer, text_config=opt,
            num_query_tokens=3,
        )  # fmt: skip
        model = t.Blip2Model(config)
        torch.nn.init.normal_(model.query_tokens)
        return model


@pytest.mark.parametrize("kind", ["vit", "clip", "siglip", "blip2"])
def test_frames_are_what_the_model_itself_makes_of_them(kind, tmp_path):
    theirs = model_of(kind).eval()
    theirs.save_pretrained(tmp_path)
    colours = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(colours))
    encoder = load_vision_model(str(tmp_path))
    frames = torch.rand(2, 3, 3, 8, 8)
    pixels = frames.flatten(0, 1) - torch.tensor(colours["image_mean"])[:, None, None]
    pixels = pixels / torch.tensor(colours["image_std"])[:, None, None]
    with torch.no_grad():
        seer = getattr(theirs, "vision_model", theirs)
        expected = seer(pixel_values=pixels).last_hidden_state
        if kind == "blip2":
            queries = theirs.query_tokens.expand(6, -1, -1)
            read = theirs.qformer(query_embeds=queries, encoder_hidden_states=expected)
            expected = read.last_hidden_state
            assert expected.shape == (6, 3, 16)
    assert (encoder.size, encoder.dim) == (8, expected.shape[2])
    expected = expected.unflatten(0, (2, 3)).flatten(1, 2)
    torch.testing.assert_close(encoder(frames), expected, rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert load_vision_model(str(tmp_path)).digest() == encoder.digest()
    # one weight, or one colour, is another encoder
    before = encoder.digest()
    with torch.no_grad():
        list(encoder.model.parameters())[-1].flatten()[-1:].add_(1e-3)
    assert encoder.digest() != before
    (tmp_path / "preprocessor_config.json").unlink()
    assert load_vision_model(str(tmp_path)).digest() != before


def test_what_is_no_vision_model_is_refused(tmp_path):
    import transformers as t

    with pytest.raises(InputError, match=r"no config\.json"):
        load_vision_model(str(tmp_path))
    t.GPT2Model(t.GPT2Config(n_embd=4, n_layer=1, n_head=1, vocab_size=9)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="square images of one size"):
        load_vision_model(str(tmp_path))
