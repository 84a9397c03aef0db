"""The form of one rater: a page without external resources, conditions or trial ids."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files

from ..._io import json_text
from .pairs import Item, Pair

QUESTION = "Which of the two texts is closer in meaning to the reference text?"
ANSWERS_FORMAT = "fastbrain human study answers 1"
# HTML cannot contain these characters; tab and line feed are allowed
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")


@dataclass(frozen=True)
class Shown:
    """What a form shows of one pair; which text is of the true brain is not in it."""

    question: str
    prompt: str
    reference: str
    first: str
    second: str


def shown_items(pairs: Sequence[Pair], items: Sequence[Item]) -> list[Shown]:
    """Put the texts of each pair into the order of a form."""
    found = []
    for item in items:
        pair = pairs[item.pair]
        texts = (pair.decoded, pair.deranged)
        first, second = texts if item.true == 1 else texts[::-1]
        found.append(Shown(pair.question, pair.prompt, pair.truth, first, second))
    return found


def form_digest(name: str, items: Sequence[Shown]) -> str:
    """Return the sha256 of the name and contents of a form; answers carry it."""
    contents = [name, QUESTION, [asdict(item) for item in items]]
    return hashlib.sha256(json_text(contents).encode()).hexdigest()


def render_form(name: str, items: Sequence[Shown]) -> str:
    """Render the page of one form.

    Parameters
    ----------
    name : str
        Identifies the form among those of the study.
    items : sequence of Shown
        In the order of the form.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("fastbrain.evaluation.human_study", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = lambda text: _CONTROLS.sub("\ufffd", text.replace("\r", "\n"))
    folder = files("fastbrain.evaluation.human_study")
    style, script = (
        folder.joinpath(file).read_text(encoding="utf-8") for file in ("form.css", "form.js")
    )
    return environment.get_template("form.html.j2").render(
        name=name,
        digest=form_digest(name, items),
        format=ANSWERS_FORMAT,
        question=QUESTION,
        items=items,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src '{_source(style)}'; script-src '{_source(script)}'",
    )


def _source(text: str) -> str:
    """Name a style or script by its hash, for the security policy of the page."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
