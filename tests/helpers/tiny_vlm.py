"""A random vision-language model of a few thousand weights, as transformers saves one."""

from __future__ import annotations

from pathlib import Path

import torch

from fastbrain.lm.word_lm import word_tokenizer

QUESTION = "how old is this person ?"


def save_tiny_vlm(folder: Path, *, words: str = "old young") -> Path:
    """Write model and processor to `folder`."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = word_tokenizer([QUESTION, " ".join("0123456789"), words])
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    image = tokenizer.convert_tokens_to_ids("<image>")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    sizes["num_attention_heads"] = 2
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=32, patch_size=16),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), **sizes, max_position_embeddings=64, pad_token_id=0
        ),
        image_token_index=image,
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    return folder
