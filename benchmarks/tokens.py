"""Table of the decode engine beside Hugging Face and the floor."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
_NAMES = {
    "fastbrain": "engine, float32",
    "fastbrain-bfloat16": "engine, bfloat16 weights",
    "fastbrain-int8": "engine, int8 weights",
    "fastbrain-generate": "`fastbrain.decoding.generate`",
    "hf_dynamic": "Hugging Face, dynamic cache",
    "hf_static": "Hugging Face, static cache",
}


def engine_table(rows: list[Row]) -> str:
    """Milliseconds a token after the first: the newest rows of each machine."""
    newest = {(row.get("machine"), row["case"], row["provider"]): row for row in rows}
    parts = []
    for machine in dict.fromkeys(key[0] for key in newest):
        own = [row for key, row in newest.items() if key[0] == machine and "ms_token" in row]
        env = own[0]["env"]
        parts.append(
            f"{env['threads']} thread(s) of {env['cpu']}, torch {env['torch']}, commit "
            f"{env['commit']}, {env['date'][:10]}:"
        )
        lines = [
            "| model | by | ms a token | over dynamic cache | share of floor | first token, ms |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['case']} | {_NAMES.get(row['provider'], row['provider'])} "
            f"| {row['ms_token']:.2f} | {row['times_hf_dynamic']:.1f}x "
            f"| {row['share_of_floor']:.0%} | {row['ms_first']:.0f} |"
            for row in own
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def perplexity_table(rows: list[Row]) -> str:
    """What reduced weights cost: the newest row of each model and kind of weights."""
    newest = {(row["case"], row["provider"]): row for row in rows}
    lines = ["| model | weights | tokens | perplexity | nats a token |", "|---|---|---|---|---|"]
    lines += [
        f"| {case} | {_NAMES.get(by, by).removeprefix('engine, ')} | {row['tokens']} "
        f"| {row['perplexity']:.3f} | {row['nats']:.4f} |"
        for (case, by), row in newest.items()
    ]
    return "\n".join(lines)
