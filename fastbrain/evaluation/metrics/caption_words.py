"""Words of a caption as the caption metrics count them."""

from __future__ import annotations

import re
from functools import lru_cache

# marks that the tokenizer of the COCO captions leaves out
_MARKS = frozenset("'' ' `` ` ( ) { } [ ] . ? ! , : - -- ... ; \"".split())
WORDS_SIGNATURE = "tok:Treebank, lower case, no punctuation"


@lru_cache(maxsize=65_536)
def caption_words(text: str) -> tuple[str, ...]:
    """Split a text by the Treebank rules, in lower case and without punctuation.

    The rules are those of nltk; the COCO captions are split by Stanford's Java program, which
    differs in rare cases (abbreviations, symbols).
    """
    from nltk.tokenize import TreebankWordTokenizer

    # the rules know a full stop at the end of the text alone, and no single quotes
    apart = re.sub(r"\.+(?=\s|$)", " .", text.lower())
    apart = re.sub(r"(?<!\S)['`](?=\w{3})|`|(?<=\w)'(?=\s|$)", " ", apart)
    return tuple(w for w in TreebankWordTokenizer().tokenize(apart) if w not in _MARKS)
