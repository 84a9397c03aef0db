"""Texts of many windows: by :func:`generate` in batches, or by the decode engine."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .._progress import say
from ..lm.end_tokens import end_tokens_of
from ..lm.shared_prompt import SharedPrompt
from .engine import DecodeEngine
from .generation import generate
from .sampling import Sampling

# with more, the cache of a beam search leaves the caches of the processor
_ENGINE_ROWS = 8


def choose_engine(llm: Any, sampling: Sampling | None, wanted: bool) -> tuple[bool, dict[str, str]]:
    """Decide whether the decode engine writes texts; a note says why not, where it was wanted.

    Returns
    -------
    chosen : bool
    facts : dict of str to str
        For the record of a run: ``texts_by``, and ``texts_by_reason`` where the engine was wanted
        and does not write.
    """
    if not wanted:
        return False, {"texts_by": "generate"}
    if sampling is not None and sampling.method == "sample":
        # the engine draws each text by a generator of its own
        reason: str | None = "a seed stands for the texts that generate draws"
    else:
        reason = DecodeEngine.can_run(llm)
    if reason is None:
        return True, {"texts_by": "decode engine"}
    say(f"note: texts are written without the decode engine: {reason}")
    return False, {"texts_by": "generate", "texts_by_reason": reason}


def write_texts(
    llm: Any,
    tokenizer: Any,
    embeds: Tensor,
    *,
    sampling: Sampling | None,
    engine: bool,
    attention_mask: Tensor | None = None,
    logit_bias: Tensor | None = None,
    after: SharedPrompt | None = None,
) -> list[str]:
    """Write a text after each row of embeddings (B, S, d).

    Parameters
    ----------
    llm : PreTrainedModel
    tokenizer : PreTrainedTokenizer
    embeds, attention_mask, logit_bias, after
        As in :func:`generate`.
    sampling : Sampling or None
    engine : bool
        Whether the decode engine writes; see :func:`choose_engine`.
    """
    ends = end_tokens_of(tokenizer, llm)
    if not engine:
        return generate(
            llm,
            embeds,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            sampling=sampling,
            attention_mask=attention_mask,
            logit_bias=logit_bias,
            after=after,
        ).texts(tokenizer)
    sampling = Sampling() if sampling is None else sampling
    room = (0 if after is None else len(after)) + embeds.shape[1] + sampling.max_new_tokens
    # made for each call, because adapters of the model may be switched off between calls
    made = DecodeEngine(llm, tokenizer, max_tokens=room)
    if after is not None:
        made.set_prefix(after.ids, bos=False)
    texts: list[str] = []
    for start in range(0, len(embeds), _ENGINE_ROWS):
        rows = slice(start, start + _ENGINE_ROWS)
        texts += made.generate(
            embeds[rows],
            sampling=sampling,
            attention_mask=None if attention_mask is None else attention_mask[rows],
            eos_token_id=ends,
            logit_bias=None if logit_bias is None else logit_bias[rows],
        ).texts(tokenizer)
    return texts
