"""Layout of a prompt: what a language model expects before, between and after texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._arguments import checked
from ..errors import ConfigError, InputError
from ..nn.config_io import suggest
from .end_tokens import document_separator, end_tokens_of

LAYOUTS = ("document", "chat", "bos", "none")
Prompt = str | Sequence[int]
_CONTENT = "\u2318content\u2318"  # stands for the user's words while a template is rendered


@dataclass(frozen=True)
class PromptLayout:
    """Tokens and spaces around a prompt and the text that continues it.

    A sequence is [start | prompt | turn | text | end].

    Parameters
    ----------
    kind : {"document", "chat", "bos", "none"}
    start : tuple of int
        Tokens before the prompt.
    turn : tuple of int
        Tokens between prompt and text: the end of the user's turn and the begin of the answer.
    first_space : str
        What precedes the first word of a text without a prompt.
    space : str
        What precedes the first word of a text that continues a prompt.
    ends : tuple of int
        Tokens that end a text; the first one is that of the tokenizer.
    reason : str
        Reason for the choice of `start`.
    """

    kind: str
    start: tuple[int, ...]
    turn: tuple[int, ...]
    first_space: str
    space: str
    ends: tuple[int, ...]
    reason: str

    def __len__(self) -> int:
        """Number of tokens around a prompt."""
        return len(self.start) + len(self.turn)

    def spaces(self, tokenizer: Any, prompts: Sequence[Prompt]) -> list[str]:
        """Return what precedes the first word of the text after each prompt.

        Nothing follows a prompt that ends in whitespace, such as a line break, or in a special
        token. With ``kind="bos"``, every text is taken to be within a line.

        Parameters
        ----------
        tokenizer : PreTrainedTokenizer
        prompts : sequence of str or sequence of int
        """
        return [self._space(tokenizer, prompt) for prompt in prompts]

    def _space(self, tokenizer: Any, prompt: Prompt) -> str:
        if self.kind == "bos" and isinstance(prompt, str):
            return self.space
        if self.turn or not self.space:
            return ""
        if not len(prompt):
            return self.first_space
        special = not isinstance(prompt, str) and prompt[-1] in tokenizer.all_special_ids
        last = prompt if isinstance(prompt, str) else tokenizer.decode([prompt[-1]])
        return "" if special or last[-1:].isspace() else self.space


@checked
def prompt_layout(tokenizer: Any, llm: Any = None, *, kind: str = "document") -> PromptLayout:
    r"""Find the layout that a language model was trained with.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    llm : PreTrainedModel, optional
        Its generation config may list further end tokens.
    kind : {"document", "chat", "bos", "none"}
        ``"document"``: a text continues after the token that begins a document: BOS, or the
        separator of documents where the tokenizer has no BOS or one that begins turns of a chat
        (``<|im_start|>``). ``"chat"``: the prompt is the user's turn of the chat template, the
        text the answer. ``"bos"``: BOS of the tokenizer, whatever it means. ``"none"``: nothing.

    Returns
    -------
    PromptLayout

    Raises
    ------
    ConfigError
        `kind` is unknown.
    InputError
        The tokenizer has no token to begin with, or no usable chat template.
    """
    if kind not in LAYOUTS:
        raise ConfigError(
            f"prompt_layout: kind must be one of {LAYOUTS}, got {kind!r}.{suggest(kind, LAYOUTS)}"
        )
    ends = tuple(end_tokens_of(tokenizer, llm) or ())
    space = " " if wants_space(tokenizer) else ""
    if kind == "chat":
        before, turn = _turns(tokenizer)
        return PromptLayout(kind, before, turn, "", "", ends, "the chat template of the tokenizer")
    if kind == "none":
        return PromptLayout(kind, (), (), "", space, ends, "nothing begins a sequence")
    begin, reason = tokenizer.bos_token_id, "BOS of the tokenizer"
    if kind == "document":
        begin, reason = document_start(tokenizer)
    if begin is None:
        raise InputError(
            "prompt_layout: tokenizer must have a bos token or a separator of documents, got "
            "neither. Set tokenizer.bos_token, for instance to its end token, or choose layout "
            "'none' and give every text a prompt."
        )
    # in pretraining, no space followed the token that begins a document
    first = space if kind == "bos" else ""
    return PromptLayout(kind, (int(begin),), (), first, space, ends, reason)


def document_start(tokenizer: Any) -> tuple[int | None, str]:
    """Token that begins a document, and why it is that; None where a tokenizer has none.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    """
    bos = getattr(tokenizer, "bos_token_id", None)
    separator = document_separator(tokenizer)
    if bos is None:
        return separator, "the separator of documents: the tokenizer has no BOS"
    if separator is not None and _begins_turns(tokenizer):
        reason = f"the separator of documents: BOS {tokenizer.bos_token} begins turns of a chat"
        return separator, reason
    return int(bos), "BOS begins a document"


def wants_space(tokenizer: Any) -> bool:
    """Whether a word within a text is the token of the word with the space before it."""

    # byte-level tokenizers mark a word start by the preceding space; SentencePiece adds the space
    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    return ids("a b") == ids("a") + ids(" b")


def _begins_turns(tokenizer: Any) -> bool:
    """Whether BOS begins every turn of the chat template."""
    if not getattr(tokenizer, "chat_template", None):
        return False
    said = [{"role": r, "content": "a"} for r in ("user", "assistant", "user")]
    try:
        return _rendered(tokenizer, said).count(tokenizer.bos_token) >= len(said)
    except InputError:  # such as a template that demands other roles
        return False


def _turns(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens of the chat template before and after the words of a user."""
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "prompt_layout: tokenizer must have a chat template for layout 'chat', got none. Use "
            "the layout 'document', or a model that was tuned on conversations."
        )
    parts = _rendered(tokenizer, [{"role": "user", "content": _CONTENT}]).split(_CONTENT)
    if len(parts) != 2 or not all(parts):
        raise InputError(
            "prompt_layout: the chat template must have the user's words once, between other "
            f"text, got them {len(parts) - 1} times. Use the layout 'document'."
        )
    before, after = (tuple(tokenizer.encode(p, add_special_tokens=False)) for p in parts)
    return before, after


def _rendered(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except Exception as error:
        # a template is a program of the model's authors and raises what they chose
        raise InputError(
            f"prompt_layout: the chat template must render a user's turn, got '{error}'. Use the "
            "layout 'bos' or 'none'."
        ) from error
