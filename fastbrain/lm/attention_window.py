"""Padding for attention with a window, which is counted in places of a sequence."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import InputError

# settings of the size of a window by the kind of a layer
_SIZES = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}


def exceeds_window(llm: Any, places: int) -> bool:
    """Return whether a sequence is longer than what some layer attends to.

    Padding within such a sequence moves tokens out of the window, so it must be on the left.

    Parameters
    ----------
    llm : PreTrainedModel
    places : int
        Tokens and padding.
    """
    window = _window(llm)
    return window is not None and places > window


def padded_left(llm: Any, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the padding of every row to its start if the attention has a window.

    Parameters
    ----------
    llm : PreTrainedModel
    embeddings : Tensor, (B, S, d)
    mask : Tensor, (B, S) int64 or bool
        0 at padding.

    Returns
    -------
    embeddings : Tensor, (B, S, d)
    mask : Tensor, (B, S)
        The given tensors if the attention of every layer reaches everything.
    """
    if _window(llm) is None:
        return embeddings, mask
    order = mask.long().argsort(dim=1, stable=True)
    return embeddings.gather(1, order[..., None].expand_as(embeddings)), mask.gather(1, order)


def check_after(function: str, llm: Any, mask: Tensor, places: int) -> None:
    """Raise if padding follows a shared prompt and a window of the attention would count it.

    Parameters
    ----------
    function : str
    llm : PreTrainedModel
    mask : Tensor, (B, S) int64 or bool
        Of what follows the shared prompt, 0 at padding.
    places : int
        Tokens and padding of the longest sequence, the shared prompt included.

    Raises
    ------
    InputError
    """
    if exceeds_window(llm, places) and not bool((mask != 0).all()):
        raise InputError(
            f"{function}: after must not precede padding, because the attention of "
            f"{type(llm).__name__} has a window of {_window(llm)} places and padding would fill "
            f"it, got {places} places. Give rows of equal length, or the prompt with every row."
        )


def _window(llm: Any) -> int | None:
    """Smallest number of places that a layer attends to, or None if all layers attend to all."""
    config = llm.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    kinds = getattr(text, "layer_types", None)
    if kinds is not None:
        names = [name for kind, name in _SIZES.items() if kind in kinds]
    elif "local" in (getattr(text, "attention_layers", None) or ()):  # GPT-Neo
        names = ["window_size"]
    else:
        names = [] if getattr(text, "use_sliding_window", True) is False else ["sliding_window"]
    sizes = [getattr(text, name, None) for name in names]
    return min((int(size) for size in sizes if size is not None), default=None)
