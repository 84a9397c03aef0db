"""LoRA of language models that answer about people."""

from __future__ import annotations

from typing import Any

from ...errors import MissingPartError


def with_lora(llm: Any, rank: int, **options: Any) -> Any:
    """Add LoRA to all linear layers; rank 0 trains the whole model.

    Parameters
    ----------
    llm : PreTrainedModel
    rank : int
    **options
        Further arguments of peft's ``LoraConfig``.

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
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", **options)
    return get_peft_model(llm, config)
