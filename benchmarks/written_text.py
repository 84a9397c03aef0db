"""Table of what decoders write, for the manual."""

from __future__ import annotations

from typing import Any

NEAREST = "nearest training sentence"  # nothing in it is drawn, so it has no seed
COLUMNS = {
    "two-way": "two_way", "all layers": "two_way_layers", "top 1": "top1",
    "BLEU-1": "bleu1", "permuted": "bleu1_permuted", "p": "bleu1_p", "nats a word": "nll_fluency",
    "copied 4-grams": "copied_4grams",
}  # fmt: skip


def text_table(rows: list[dict[str, Any]]) -> str:
    """Newest row of each decoder and number of sentences, last with noise for every brain image."""
    newest = {(r["llm"], r["case"], r["decoder"], _seed(r), r["n_written"]): r for r in rows}
    lines = ["| decoder | seed | sentences | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---" * (len(COLUMNS) + 3) + "|")
    for (_, case, decoder, seed, _), row in sorted(newest.items(), key=_place):
        decoder += ", noise brains" if "noise" in case else ""
        cells = [_interval(row, name) for name in COLUMNS.values()]
        lines.append(f"| {decoder} | {seed} | {row['n_written']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def soft_prompt_table(rows: list[dict[str, Any]]) -> str:
    """Newest row of the soft prompt and of the mixture, for each case."""
    newest = {(r["llm"], r["case"], r["decoder"]): r for r in rows}
    names = [
        "preferred", "nats a token", "no brain", "other brain", "two-way", "top 1", "BLEU-1",
        "permuted", "nats a word", "different texts",
    ]  # fmt: skip
    lines = ["| decoder | case | sentences | " + " | ".join(names) + " |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for (_, case, decoder), row in newest.items():
        cells = [
            _interval(row, "pairwise"),
            *(f"{row[name]:.3f}" for name in ("nll", "nll_nobrain", "nll_deranged")),
            _interval(row, "two_way"),
            _interval(row, "top1"),
            *(f"{row[name]:.3f}" for name in ("bleu1", "bleu1_permuted", "nll_fluency")),
            str(row["distinct_texts"]),
        ]
        lines.append(f"| {decoder} | {case} | {row['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def readout_table(rows: list[dict[str, Any]]) -> str:
    """Newest row of each way to read a sentence."""
    newest = {(r["case"], r["readout"]): r for r in rows}
    lines = ["| read-out | two-way | first of its fold | two-way, difference from the first line |"]
    lines.append("|---" * 4 + "|")
    for (case, readout), row in newest.items():
        name = readout + (", noise brains" if "noise" in case else "")
        cells = [_interval(row, key) for key in ("two_way", "top1", "ahead")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(row: dict[str, Any], name: str) -> str:
    value = f"{row[name]:.3f}"
    return value + " [{:.3f}, {:.3f}]".format(*row[f"{name}_ci"]) if f"{name}_ci" in row else value


def _seed(row: dict[str, Any]) -> str:
    return "" if row["decoder"] == NEAREST else str(row["seed"])


def _place(item: tuple[tuple[str, str, str, str, int], Any]) -> tuple[bool, int, str]:
    (_, case, _, seed, written), _ = item
    return "noise" in case, written, seed
