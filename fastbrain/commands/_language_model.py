"""What ``fastbrain doctor --llm`` says of a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._arguments import checked
from ..errors import InputError
from ._sections import Section

# what each layout is for
_MEANING = {
    "document": "a text that stands alone or continues the prompt",
    "chat": "the answer to a user's turn; what the template says first, such as a system prompt, "
    "is part of it",
    "bos": "the layout of runs that were saved before there was a choice",
    "none": "no added tokens: the prompt brings all that the text needs",
}
_CHOICE = (
    "training of BrainLLM, and decoding by retrieve and edit, use document; for BrainLLM, "
    "`--layout chat` is worth a trial where a model tuned on conversations gets a request as its "
    "prompt, and none where prompts are given as tokens; LLM4Brain and VQ-LM begin with BOS"
)


@checked
def describe(name: str, device: str, texts: Path | None) -> dict[str, Any]:
    """Load a language model in float32, score sentences under its layouts, and time it.

    Parameters
    ----------
    name : str
        As for :func:`fastbrain.lm.load_llm`.
    device : str
    texts : Path, optional
        File with a sentence in each line. Default: built-in ones.

    Raises
    ------
    InputError
        The model or the file cannot be read, or the file has no sentence.
    """
    from ..lm import load_llm, prompt_layout
    from ..lm.context import context_of
    from ..lm.layout_nll import SENTENCES, SHOTS, layout_nll
    from ..lm.precision_times import precision_times
    from ..lm.prompt_layout import LAYOUTS

    sentences = SENTENCES if texts is None else _lines(texts)
    llm, tokenizer = load_llm(name, dtype="float32", device=device)
    layouts: dict[str, Any] = {}
    for kind in LAYOUTS:
        try:
            found = prompt_layout(tokenizer, llm, kind=kind)
        except InputError as error:
            layouts[kind] = {"error": str(error)}
            continue
        layouts[kind] = {
            "before": tokenizer.decode(list(found.start)),
            "after": tokenizer.decode(list(found.turn)),
            "reason": found.reason,
        }
    ends = prompt_layout(tokenizer, llm, kind="none").ends
    nll = layout_nll(llm, tokenizer, sentences)
    parameters = sum(p.numel() for p in llm.parameters())
    seconds = precision_times(llm)
    return {
        "name": name,
        "kind": type(llm).__name__,
        "parameters": parameters,
        "dtype": "bfloat16" if device.startswith("cuda") else "float32",
        "vocabulary": len(tokenizer),
        "context": context_of(llm),
        "end_tokens": tokenizer.convert_ids_to_tokens(list(ends)),
        "layouts": layouts,
        "sentences": len(sentences[SHOTS:] or sentences),
        "nll": nll,
        "seconds": seconds,
        "fastest": {
            work: min(seconds, key=lambda way: seconds[way][work]) for work in ("forward", "step")
        },
    }


def sections(found: dict[str, Any]) -> dict[str, Section]:
    """Lines to print, by title."""
    layouts = [(kind, _layout(kind, one)) for kind, one in found["layouts"].items()]
    times = [
        (way, f"{one['forward']:.3f} s, {one['step']:.3f} s")
        for way, one in found["seconds"].items()
    ]
    fastest = found["fastest"]
    return {
        f"Language model {found['name']}": [
            ("kind", found["kind"]),
            ("parameters", f"{found['parameters']:,}"),
            ("precision when loaded", found["dtype"]),
            ("vocabulary", f"{found['vocabulary']:,}"),
            ("context", "no limit" if found["context"] is None else f"{found['context']:,} tokens"),
            ("a text ends with", " or ".join(found["end_tokens"])),
        ],
        "Layouts of a prompt and the text after it": [*layouts, ("choice", _CHOICE)],
        f"Nats per token of {found['sentences']} sentences, one at a time": _nll(found["nll"]),
        "Forward pass of 16 x 24 tokens, decode step of 16 rows": [
            *times,
            ("fastest to score and train", fastest["forward"]),
            ("fastest to write", fastest["step"]),
        ],
    }


def _layout(kind: str, one: dict[str, str]) -> str:
    if "error" in one:
        return one["error"]
    before = f"{one['before']!r} | " if one["before"] else ""
    after = f" | {one['after']!r}" if one["after"] else ""
    return f"{_MEANING[kind]}: {before}prompt{after} | text ({one['reason']})"


def _nll(found: dict[str, float | str]) -> Section:
    """Rows of the layouts, then of the prompt of other sentences, which is no layout."""
    from ..lm.layout_nll import ASKED
    from ..lm.prompt_layout import LAYOUTS

    scored = {k: v for k, v in found.items() if k in LAYOUTS and isinstance(v, float)}
    best = min(scored, key=lambda name: scored[name]) if scored else None
    rows: Section = []
    for name, value in found.items():
        prompt = f"request {ASKED!r}" if name == "chat" else "no prompt"
        if name not in LAYOUTS:
            prompt = "layout document, the first sentences as its prompt, one a line"
        lowest = ", lowest of the layouts" if name == best else ""
        shown = value if isinstance(value, str) else f"{value:.3f} ({prompt}{lowest})"
        rows.append((name, shown))
    reason = "not scored: without a prompt, nothing precedes the first token"
    return [*rows[:-1], ("none", reason), rows[-1]]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"doctor: {path} must be a text file in UTF-8, got '{error}'.") from error
    found = [line.strip() for line in text.splitlines() if line.strip()]
    if not found:
        raise InputError(f"doctor: {path} must hold a sentence in each line, got none.")
    return found
