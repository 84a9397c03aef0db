"""Load the weights of a frozen language model in 8 or 4 bits, by bitsandbytes or torchao."""

from __future__ import annotations

import importlib.util
from typing import Any

from ..errors import ConfigError, MissingPartError

BITS = (8, 4)
_GROUP = 32  # weights that share a scale in 4 bits: divides the width of every common model


def check_bits(bits: int, *, function: str = "load_llm") -> None:
    """Raise :class:`ConfigError` unless `bits` is 8 or 4."""
    if bits not in BITS:
        raise ConfigError(f"{function}: bits must be 8 or 4, got {bits!r}.")


def quantisation(bits: int, place: str, *, function: str = "load_llm") -> Any:
    """Build the quantisation of transformers: bitsandbytes on a GPU that has it, else torchao.

    Parameters
    ----------
    bits : {8, 4}
    place : str
        Device of the model.
    function : str
        Name of the calling function, for messages.

    Raises
    ------
    ConfigError
        `bits` is neither 8 nor 4.
    MissingPartError
        Neither package is installed.
    """
    check_bits(bits, function=function)
    if place.startswith("cuda") and importlib.util.find_spec("bitsandbytes") is not None:
        import torch
        from transformers import BitsAndBytesConfig

        if bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    if importlib.util.find_spec("torchao") is None:
        raise MissingPartError(
            f"{function}: a language model in {bits} bits must have torchao or, on a GPU, "
            "bitsandbytes. pip install 'fastbrain-fmri[quantised]'."
        )
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig
    from transformers import TorchAoConfig

    kind = Int8WeightOnlyConfig() if bits == 8 else Int4WeightOnlyConfig(group_size=_GROUP)
    return TorchAoConfig(quant_type=kind)


def is_quantised(llm: Any) -> bool:
    """Whether the weights of a language model were quantised on loading."""
    return getattr(llm, "hf_quantizer", None) is not None
