"""Annotators with a model: a small language model, and a tiny random video model.

transformers' own video processors need torchvision, which the tests do without: the model is a real
LLaVA-OneVision of random weights, its processor a stand-in that lays tokens out as theirs does.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastbrain.data import Request, annotate
from fastbrain.data.clips import write_clip
from fastbrain.errors import CohortError, ConfigError, InputError
from fastbrain.integrations import annotators
from fastbrain.integrations.annotators import TextModel, VideoModel
from fastbrain.models import answering, load_llm, small_llm
from fastbrain.models.hub import model_digest

FRAME = "{instruction} {facts}"
COLOURS = ("red", "blue", "green")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A language model that knows one answer for each caption."""
    corpus = [f"what is it ? a {c} ball it is {c}" for c in COLOURS]
    sizes = {"dim": 32, "depth": 2, "heads": 2, "steps": 300, "batch_size": 8, "slots": 3}
    return str(small_llm(corpus, cache_dir=tmp_path_factory.mktemp("llm"), **sizes))


def requests():
    return [
        Request(f"r{i}", "what is it ?", seed=0, captions=(f"a {c} ball",))
        for i, c in enumerate(COLOURS)
    ]


def test_a_language_model_answers_from_captions(spoken, tmp_path):
    model = TextModel(spoken, frame=FRAME, max_tokens=4)
    found = annotate(requests(), model, cache=tmp_path / "cache")
    for i, colour in enumerate(COLOURS):
        assert found[f"r{i}"].text.startswith(f"it is {colour}")
    assert found["r0"].model.startswith("language model ")
    # the same in a batch as alone
    assert model.annotate(requests()[2:])[0] == model.annotate(requests())[2]
    with pytest.raises(CohortError, match="captions or a class name"):
        model.annotate([Request("r", "?", 0)])
    with pytest.raises(ConfigError, match="frame"):
        TextModel(spoken, frame="{facts}")


def test_another_model_or_frame_is_another_annotator(spoken):
    card = TextModel(spoken, frame=FRAME).card
    assert TextModel(spoken, frame=FRAME).card == card
    assert TextModel(spoken, frame="{facts} {instruction}").card.digest != card.digest
    llm, _ = load_llm(spoken)
    before = model_digest(llm)
    # a fine-tuning that leaves the embeddings alone
    last = [p for n, p in llm.named_parameters() if n.endswith("mlp.down_proj.weight")][-1]
    last.data += 1
    assert model_digest(llm) != before
    assert model_digest(llm.to(torch.bfloat16)) != before


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


@pytest.fixture(scope="module")
def video_model():
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


def test_a_video_model_answers_from_the_clip(video_model, monkeypatch, tmp_path):
    words = SimpleNamespace(
        pad_token_id=0, decode=lambda ids, **_: " ".join(f"w{i}" for i in ids.tolist())
    )
    processor = Processor(words, 3)
    monkeypatch.setattr(annotators, "load_video_llm", lambda name, device: (video_model, processor))
    asked = []
    for i, shade in enumerate((10, 240, 240)):
        clip = tmp_path / f"{i}.mp4"
        write_clip(clip, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
        asked.append(Request(f"r{i}", "what is it", seed=0, clip=str(clip)))
    model = VideoModel("somewhere/llava", frames=4, size=8, max_tokens=6)
    found = annotate(asked, model)
    assert len(found["r0"].text.split()) == 6
    # it looks: another clip gets another answer, the same clip the same
    assert found["r1"].text == found["r2"].text != found["r0"].text
    assert processor.asked == ["what is it"] * 3
    with pytest.raises(CohortError, match=r"none for r0 .* and 1 more"):
        model.annotate([replace(r, clip="gone.mp4") for r in asked[:2]])


def test_what_is_no_video_model(tmp_path, video_model):
    with pytest.raises(InputError, match="must be a video language model"):
        answering.load_video_llm(str(tmp_path))
    with pytest.raises(InputError, match="chat template"):
        answering.answer_clips(video_model, SimpleNamespace(chat_template=None), [], [])
