"""Likelihood of sentences under the layouts that a language model can be given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import InputError
from .context import context_of
from .likelihood import answer_nll, layout
from .prompt_layout import prompt_layout
from .tokenization import encode_context, encode_continuations

SHOTS = 4
ASKED = "Write a sentence."
# sentences without a common topic; the first ones are the shots
SENTENCES = (
    "The baker opened his shop before the sun came up.",
    "A volcano releases melted rock and ash from deep within the earth.",
    "She wrote a long letter to her brother, who lived in another country.",
    "Most birds build their nests in spring, when food is easy to find.",
    "The bridge was closed for a week because of the flood.",
    "An octopus can change the colour of its skin to hide from enemies.",
    "He tuned the old guitar and played a song for the children.",
    "Doctors advise people to sleep for at least seven hours a night.",
    "The farmer carried two baskets of apples to the market.",
    "A thick fog covered the harbour, and no ship could leave.",
)


@torch.no_grad()
def layout_nll(
    llm: Any, tokenizer: Any, sentences: Sequence[str] = SENTENCES, *, shots: int = SHOTS
) -> dict[str, float | str]:
    """Mean negative log likelihood of sentences under each layout.

    Parameters
    ----------
    llm : PreTrainedModel
    tokenizer : PreTrainedTokenizer
    sentences : sequence of str
    shots : int
        Number of sentences, the first ones, that precede the others, one a line, as the last
        alternative. They are not scored under any layout, unless there are no others.

    Returns
    -------
    dict
        Nats per token for ``"bos"``, ``"document"``, ``"chat"`` and ``"N shots"``, or the reason
        why there is none: a layout that the tokenizer lacks, or a sentence that does not fit into
        the context. Tokens of a layout and end tokens are not counted.

    Raises
    ------
    InputError
        There is no sentence.
    """
    texts = [" ".join(s.split()) for s in sentences if s.strip()]
    if not texts:
        raise InputError("layout_nll: sentences must be at least one with words, got none.")
    before, scored = texts[:shots], texts[shots:] or texts
    lines = "".join(f"{line}\n" for line in before)
    asked = {"bos": "", "document": "", "chat": ASKED, f"{shots} shots": lines}
    found: dict[str, float | str] = {}
    for name, prompt in asked.items():
        try:
            found[name] = _nats(llm, tokenizer, scored, prompt, name)
        except InputError as error:
            found[name] = str(error)
    if len(texts) <= shots:
        found[f"{shots} shots"] = f"needs more than {shots} sentences, got {len(texts)}"
    return found


def _nats(llm: Any, tokenizer: Any, texts: list[str], prompt: str, name: str) -> float:
    kind = name if name in ("bos", "chat") else "document"
    chosen = prompt_layout(tokenizer, llm, kind=kind)
    embedding = llm.get_input_embeddings().weight
    context = context_of(llm)
    ids, _ = encode_context(tokenizer, [prompt], max_tokens=1 << 30, device=embedding.device)
    total, tokens = 0.0, 0
    for text in texts:
        own, mask = encode_continuations(
            tokenizer,
            [text],
            max_tokens=1 << 30,
            end=False,
            spaces=chosen.spaces(tokenizer, [prompt]),
            device=embedding.device,
        )
        nothing = embedding.new_empty(1, 0, embedding.shape[1])
        front, _ = layout(llm, nothing, ids, start=chosen.start, turn=chosen.turn)
        length = front.shape[1] + own.shape[1]
        if context is not None and length > context:
            raise InputError(
                f"layout_nll: sentences must fit into the context of {context} tokens, got "
                f"{length} with {text!r:.40}. Give shorter ones."
            )
        total += float(answer_nll(llm, front, None, own, mask).sum())
        tokens += int(mask.sum())
    return total / tokens
