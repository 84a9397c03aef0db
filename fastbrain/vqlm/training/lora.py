"""LoRA of the baselines' language models."""

from __future__ import annotations

from typing import Any

from ...errors import MissingPartError


def with_lora(llm: Any, rank: int) -> Any:
    """Add LoRA to all linear layers; rank 0 trains the whole model.

    Raises
    ------
    MissingPartError
        peft is not installed.
    """
    if not rank:
        return llm.requires_grad_(True)
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingPartError(
            "train_vqlm: rank must be 0 without peft. pip install 'fastbrain-fmri[peft]'."
        ) from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return get_peft_model(llm, config)
