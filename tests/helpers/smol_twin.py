"""A tiny random Llama whose tokenizer has the layout of SmolLM2-Instruct.

BOS begins the turns of a chat, EOS ends them, and another token separates documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SEPARATOR, BOS, EOS = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CORPUS = (
    "The man throws a ball over the wall.\nThe woman paints the house, and a child looks on.",
    "A dog holds the box.\nIt is the user who asks the assistant a question of the system.",
)
# ChatML with a system's turn of its own where the conversation brings none
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe short.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def smol_tokenizer(
    *, template: str | None = TEMPLATE, corpus: Sequence[str] = CORPUS, size: int = 330
) -> Any:
    """Train a byte-level BPE tokenizer with the special tokens of SmolLM2."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[SEPARATOR, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, unk_token=SEPARATOR, pad_token=EOS
    )
    tokenizer.chat_template = template
    return tokenizer


def smol_llm(tokenizer: Any, *, seed: int = 0) -> Any:
    """Build a random Llama for a tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer), tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, **SIZES,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def smol_folder(folder: Path) -> Path:
    """Save a twin as safetensors."""
    tokenizer = smol_tokenizer()
    smol_llm(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
