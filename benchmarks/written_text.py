"""Table of what decoders write, for the manual."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "two-way": "two_way", "all layers": "two_way_layers", "top 1": "top1",
    "BLEU-1": "bleu1", "permuted": "bleu1_permuted", "nats a word": "nll_fluency",
    "copied 4-grams": "copied_4grams",
}  # fmt: skip


def text_table(rows: list[dict[str, Any]]) -> str:
    """Newest row of each decoder: what is written."""
    newest = {(r["llm"], r["case"], r["decoder"], r["seed"]): r for r in rows}
    lines = ["| decoder | seed | sentences | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    for (_, _, decoder, seed), row in newest.items():
        cells = []
        for name in COLUMNS.values():
            cell = f"{row[name]:.3f}"
            if f"{name}_ci" in row:
                cell += " [{:.3f}, {:.3f}]".format(*row[f"{name}_ci"])
            cells.append(cell)
        lines.append(f"| {decoder} | {seed} | {row['n_written']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
