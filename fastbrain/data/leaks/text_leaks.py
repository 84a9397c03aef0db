"""Text leaks: the same text in two parts, and prompts that contain a text to decode."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from ..splits.split import PAIRS
from .checks import AuditRecord, Leak, Tally, shared_values, shorten, sizes_of

Words = tuple[str, ...]
# a phrase as short as this recurs in unrelated texts ("a piece of clothing")
_SHORT_WORDS = 4
_PROMPT_WORDS = 3  # shorter texts are not searched for in prompts: they occur by chance
# Chinese and Japanese put no spaces between words: each character counts as a word
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_SIGN}]|[^\W{_SIGN}]+(?:'[^\W{_SIGN}]+)*")


def shared_texts(records: Sequence[AuditRecord]) -> list[Leak]:
    """Find texts that occur in two parts, ignoring case, punctuation and spaces."""
    return shared_values(
        "text",
        records,
        lambda r: [_phrase(words, r.story)] if (words := words_of(r.text)) else [],
        lambda phrase: shorten(" ".join(phrase[0])),
    )


def telling_prompts(records: Sequence[AuditRecord], shared: Sequence[str]) -> list[Leak]:
    """Find prompts that contain the text of a sample of another part, or of their own sample.

    Parameters
    ----------
    records : sequence of AuditRecord
    shared : sequence of str
        Prompts that every sample gets, in training too.
    """
    targets: dict[tuple[Words, str], dict[str, list[str]]] = {}
    by_head: dict[Words, dict[int, set[Words]]] = {}
    for record in records:
        words = words_of(record.text)
        if len(words) >= _PROMPT_WORDS:
            by_part = targets.setdefault(_phrase(words, record.story), {})
            by_part.setdefault(record.part, []).append(record.record_id)
            lengths = by_head.setdefault(words[:_PROMPT_WORDS], {})
            lengths.setdefault(len(words), set()).add(words)
    prompts: dict[tuple[str, str], dict[str, list[str]]] = {}
    answers: dict[tuple[str, str], set[str]] = {}
    for record in records:
        for given in record.texts_before:
            key = (given, record.story)
            prompts.setdefault(key, {}).setdefault(record.part, []).append(record.record_id)
            answers.setdefault(key, set()).add(record.text)
    for prompt in shared:
        prompts.setdefault((prompt, ""), {}).setdefault("train", []).append(f"prompt {prompt!r}")
    tally = Tally("prompt", sizes_of(records))
    for (prompt, story), holders in prompts.items():
        # a prompt shared by samples with different texts does not reveal the text of any of them
        own = len(answers.get((prompt, story), ())) == 1
        for words in _contained(words_of(prompt), by_head):
            known = targets.get(_phrase(words, story), {})
            what = shorten(" ".join(words))
            for part, ids in holders.items():
                for other, those in known.items():
                    if (part, other) in PAIRS or (other, part) in PAIRS:
                        tally.add((part, other), ids, those, what)
                if own:
                    same = set(ids) & set(known.get(part, ()))
                    both = [(i, i, what) for i in ids if i in same]
                    tally.count((part, part), len(both), same, both)
    return tally.leaks()


def words_of(text: str) -> Words:
    """Split a text into words without case and punctuation; at spaces if it has no words."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return tuple(_WORD.findall(plain)) or tuple(plain.split())


def _phrase(words: Words, story: str) -> tuple[Words, str]:
    """Key of a text: its words, plus the story for short texts, which recur by chance."""
    return words, story if len(words) <= _SHORT_WORDS else ""


def _contained(words: Words, by_head: Mapping[Words, Mapping[int, set[Words]]]) -> set[Words]:
    """Find known phrases inside `words`, looked up by their first words, then by length."""
    found = set()
    for at in range(len(words) - _PROMPT_WORDS + 1):
        for length, phrases in by_head.get(words[at : at + _PROMPT_WORDS], {}).items():
            if (phrase := words[at : at + length]) in phrases:
                found.add(phrase)
    return found
