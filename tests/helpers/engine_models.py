"""Tiny random language models of every architecture that the decode engine runs."""

from __future__ import annotations

from typing import Any

import torch

EOS, PAD, VOCABULARY, WIDTH = 1, 0, 53, 16

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
}
# kind -> class of transformers, and options of its configuration
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-bias": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-scaled": ("Llama", {"rope_parameters": _LLAMA3}),
    "llama-yarn": ("Llama", {"rope_parameters": _YARN}),
    "mistral": ("Mistral", {"sliding_window": 4}),
    "qwen2": ("Qwen2", {}),
    "qwen2-sliding": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "gemma": ("Gemma", {"head_dim": 8}),
    # caps as low as these change every score and logit
    "gemma2": (
        "Gemma2",
        {
            "head_dim": 8,
            "sliding_window": 4,
            "query_pre_attn_scalar": 5,
            "attn_logit_softcapping": 0.4,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3": ("Gemma3", {"head_dim": 8, "sliding_window": 4, "sliding_window_pattern": 2}),
    "gpt2": ("GPT2", {}),
}


def engine_model(kind: str, *, seed: int = 3, sharpness: float = 3.0) -> Any:
    """A random model in evaluation mode; `sharpness` multiplies its weights, so that texts end."""
    import transformers

    name, options = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if name == "GPT2":
            sizes = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": 3, "n_head": 4}
            special = {k: _SIZES[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
            config = transformers.GPT2Config(**sizes, **special, n_positions=64)
            model = transformers.GPT2LMHeadModel(config)
        else:
            configs = f"{name}TextConfig" if name == "Gemma3" else f"{name}Config"
            config = getattr(transformers, configs)(**_SIZES, **options)
            model = getattr(transformers, f"{name}ForCausalLM")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                # norms and biases that start at 0 or 1 would hide an error
                parameter.mul_(sharpness).add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def some_embeds(*shape: int, seed: int = 7) -> torch.Tensor:
    """Random embeddings (..., d)."""
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))


def hugging_face(llm: Any, embeds: torch.Tensor, **options: Any) -> list[list[int]]:
    """What ``generate`` of transformers writes after embeddings (B, S, d), without the end."""
    options = {"do_sample": False, "eos_token_id": EOS, "pad_token_id": PAD, **options}
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    rows = llm.generate(inputs_embeds=embeds, attention_mask=mask, **options).tolist()
    most = options["max_new_tokens"]
    return [(row[: row.index(EOS)] if EOS in row else row)[:most] for row in rows]
