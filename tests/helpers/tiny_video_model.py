"""A tiny video language model of random weights, and a stand-in for its processor.

transformers' own video processors need torchvision, which the tests do without: the model is a real
LLaVA-OneVision, its processor lays tokens out as theirs does.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fastbrain.integrations.annotators import VideoModel


class Processor:
    """Tokens <video> × (frames + 1), then one token a word; the frames as they come."""

    chat_template = "there is one"

    def __init__(self, tokenizer, video_token: int) -> None:
        self.tokenizer, self.video_token = tokenizer, video_token
        self.asked: list[str] = []

    def apply_chat_template(self, turns, *, add_generation_prompt):
        assert add_generation_prompt
        kinds = [part["type"] for part in turns[0]["content"]]
        assert kinds == ["video", "text"]
        self.asked.append(turns[0]["content"][1]["text"])
        return self.asked[-1]

    def __call__(self, *, text, videos, return_tensors):
        (clip,), (words,) = videos, text
        assert clip.dtype == torch.uint8
        ids = [self.video_token] * (len(clip) + 1) + [4 + len(w) for w in words.split()]
        return {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
            "pixel_values_videos": clip[None].float() / 127.5 - 1,
        }


WORDS = SimpleNamespace(
    pad_token_id=0, decode=lambda ids, **_: " ".join(f"w{i}" for i in ids.tolist())
)


@pytest.fixture(scope="module")
def video_model():
    """A LLaVA-OneVision of two layers, which tests leave as it is."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            **sizes, num_attention_heads=2, image_size=8, patch_size=4, vision_use_head=False
        ),
        text_config=Qwen2Config(
            **sizes, num_attention_heads=2, num_key_value_heads=1, vocab_size=40,
            bos_token_id=1, eos_token_id=None, pad_token_id=0,
        ),
        image_token_index=2,
        video_token_index=3,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaOnevisionForConditionalGeneration(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
    model.generation_config.eos_token_id = None
    return model.eval()


@pytest.fixture
def small_answers(monkeypatch):
    """Answers of four tokens to four frames of 8 x 8 pixels, where the command has no option."""
    init = VideoModel.__init__.__wrapped__
    sizes = {"size": 8, "frames": 4, "max_tokens": 4}
    monkeypatch.setattr(init, "__kwdefaults__", {**init.__kwdefaults__, **sizes})
