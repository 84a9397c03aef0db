"""Tables of the manual that are made of the rows of one study.

Short ones are in the page of their system, between ``<!-- NAME: begin -->`` and
``<!-- NAME: end -->``; long ones are sections of docs/numbers.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ablation
import coding
import tokens
import written_text
from systems import loader, prepare, realtime, scaling

from fastbrain._io import write_atomic

Row = dict[str, Any]
Table = Callable[[list[Row]], str]

# by page: name of the mark to the rows that are read and the table that is made of them
PAGES: dict[str, dict[str, tuple[str, Table]]] = {
    "vq.md": {"codes": ("vqlm", coding.codes_table), "age": ("vqlm", coding.age_table)},
    "decode_engine.md": {
        "tokens": ("decode_engine", tokens.engine_table),
        "perplexity": ("decode_engine_perplexity", tokens.perplexity_table),
    },
    "store.md": {
        "run": ("prepare_run", prepare.run_table),
        "jobs": ("prepare_jobs", prepare.jobs_table),
        "loader": ("loader", loader.loader_table),
        "feed": ("loader_feed", loader.feed_table),
    },
    "text.md": {
        "readouts": ("sentence_readout", written_text.readout_table),
        "written": ("written_sentences", written_text.text_table),
        "soft-prompt": ("soft_prompt", written_text.soft_prompt_table),
    },
    "realtime.md": {"latency": ("realtime", realtime.latency_table)},
}
# by title of the section
SECTIONS: dict[str, tuple[str, Table]] = {
    "How time grows (ms)": ("scaling", scaling.scaling_table),
    "LLM4Brain: the recipe without one of its parts": ("llm4brain", ablation.ablation_table),
    "LLM4Brain: subjects": ("people", ablation.people_tables),
}
OPS = frozenset(op for tables in (*PAGES.values(), SECTIONS) for op, _ in tables.values())


def write_pages(docs: Path, rows: list[Row]) -> None:
    """Put every table that has rows between its marks."""
    for page, tables in PAGES.items():
        text = (docs / page).read_text()
        for name, (op, table) in tables.items():
            own = [row for row in rows if row["op"] == op]
            if own:
                text = between(text, name, table(own))
        write_atomic(docs / page, text)


def sections(rows: list[Row]) -> str:
    """The long tables that have rows, each with its title."""
    parts = []
    for title, (op, table) in SECTIONS.items():
        own = [row for row in rows if row["op"] == op]
        if own:
            parts.append(f"## {title}\n\n{table(own)}")
    return "\n\n".join(parts)


def between(text: str, name: str, body: str) -> str:
    """The text with something else between the marks of a name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, tail = text.split(begin)[0], text.split(end)[1]
    return f"{head}{begin}\n{body}\n{end}{tail}"
