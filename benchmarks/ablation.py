"""Tables of what each part of LLM4Brain is worth, and of its people, from the recorded rows."""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from fastbrain.evaluation.analyses.by_subject import cells_table

_COLUMNS = {
    "pairwise": "pairwise accuracy",
    "bleu1": "BLEU-1",
    "rougeL_f": "ROUGE-L F",
    "exact_match": "exact sentence",
}


def ablation_table(rows: list[dict[str, Any]]) -> str:
    """Every variant over its seeds: mean ± standard deviation, and the deranged brain's mean."""
    rows = list({(row["case"], row["seed"]): row for row in rows}.values())
    cases = dict.fromkeys(row["case"] for row in rows)
    bare = [case for case in cases if case.startswith("bare")]
    parts = [
        "With the linear readout (difference from the full recipe, seed by seed, in brackets):",
        _table(rows, [case for case in cases if case not in bare], "full"),
        "Without it, so that encoder and Q-Former have to find everything (difference from the "
        "first line):",
        _table(rows, bare, "bare"),
    ]
    seeds = sorted({row["seed"] for row in rows})
    signals = sorted({row["snr"] for row in rows if row["snr"]})
    about = (
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))}), {rows[0]['n']} windows of two people "
        f"never met, SNR {', '.join(f'{s:g}' for s in signals)}; mean ± standard deviation over "
        "seeds; after the slash the same decoder on deranged brains."
    )
    return "\n\n".join([about, *parts])


def _table(rows: list[dict[str, Any]], cases: list[str], base: str) -> str:
    names = list(_COLUMNS)
    lines = ["| | " + " | ".join(_COLUMNS.values()) + " | seeds |", "|---" * (len(names) + 2) + "|"]
    full = {row["seed"]: row for row in rows if row["case"] == base}
    for case in cases:
        own = [row for row in rows if row["case"] == case]
        cells = [_cell(own, full if case != base else {}, name) for name in names]
        # rows of before the renaming say "adaptor"
        title = own[-1]["title"].replace("adaptor", "adapter")
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {len(own)} |")
    return "\n".join(lines)


def _cell(rows: list[dict[str, Any]], full: dict[int, dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows]
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    chance = mean(row[f"{name}_deranged"] for row in rows)
    # the cohort without signal is another cohort, not a change of the recipe
    pairs = [(row, full[row["seed"]]) for row in rows if row["seed"] in full]
    gains = [row[name] - other[name] for row, other in pairs if row["snr"] == other["snr"]]
    gain = f" ({mean(gains):+.3f})" if gains else ""
    return f"{mean(values):.3f}{spread}{gain} / {chance:.3f}"


def people_tables(rows: list[dict[str, Any]]) -> str:
    """The paper's table of every preset: a line a held-out person, and one for every control."""
    newest = {(row["case"], row["seed"]): row for row in rows}
    parts = []
    for (name, seed), row in newest.items():
        parts += [
            f"**`--preset {name}`**, cohort {seed}, SNR {row['snr']:g}, {row['n']} windows, "
            f"{row['adaptation']}; percent.",
            cells_table(row["cells"]),
        ]
    return "\n\n".join(parts)
