"""Tables of the committed benchmark rows, generated and never typed.

    python benchmarks/report.py [--machine NAME | --write]

``--write`` puts one table and one plot into README.md (overview.py), all tables into
docs/numbers.md, and those of a system's own study into its page (pages.py).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import overview
import pages
from load import load_table
from rows import all_rows

from fastbrain._io import write_atomic
from fastbrain.bench.rows import FACTS, VERDICTS, device_of, is_rival
from fastbrain.bench.tables import summary, table, where_we_lose

# what a table of its own is measured on
GROUP = ("machine", "op", "dtype", "cache", "way")


def group(row: dict[str, Any]) -> tuple[Any, ...]:
    """Which table a row belongs to."""
    return tuple(row.get(name) for name in GROUP)


def latest(machine: str | None) -> list[dict[str, Any]]:
    """The newest row of every (machine, op, case, provider) and, where it is timed, threads."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in all_rows(machine):
        if row["op"] not in pages.OPS:
            # what a recipe finds does not depend on them
            threads = row["env"]["threads"] if "provider" in row else None
            what = row.get("case", row.get("snr", str(row.get("test_runs"))))
            rows[(*group(row), threads, what, row.get("provider"))] = row
    return list(rows.values())


def demo_table(rows: list[dict[str, Any]]) -> str:
    """The simulated cohort, with and without signal."""
    lines = [
        "| SNR | windows | pairwise accuracy (chance 0.5) | p | BLEU-1 | ROUGE-L F | time |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -row["snr"]):
        low, high = row["pairwise_ci"]
        lines.append(
            f"| {row['snr']:g} | {row['n']} | {row['pairwise_accuracy']:.3f} "
            f"({low:.3f}-{high:.3f}) | {row['pairwise_p']:.3f} "
            f"| {row['bleu1']:.3f} (deranged {row['bleu1_permuted']:.3f}) "
            f"| {row['rougeL_f']:.3f} (deranged {row['rougeL_f_permuted']:.3f}) "
            f"| {row['seconds']:.0f} s |"
        )
    return "\n".join(lines)


def haxby_table(rows: list[dict[str, Any]]) -> str:
    """Real recordings: blocks decoded, beside ridge on the same volumes."""
    lines = [
        "| test runs | blocks | high-pass | LLM4Brain, scored | LLM4Brain, free text | ridge | p |",
        "|---|---|---|---|---|---|---|",
    ]
    names = ("block_accuracy", "block_accuracy_free_text", "ridge_block_accuracy")
    for row in sorted(rows, key=lambda row: row["test_runs"]):
        runs = ", ".join(map(str, row["test_runs"]))
        cells = " | ".join(f"{row[name]:.1%}" for name in names)
        # rows of before the filter was chosen
        seconds = row.get("high_pass_s", 128.0)
        used = "a line alone" if seconds is None else f"{seconds:g} s"
        lines.append(f"| {runs} | {row['n_blocks']} | {used} | {cells} | {row['block_p']:.4f} |")
    total = sum(row["n_blocks"] for row in rows)
    means = [sum(row[n] * row["n_blocks"] for row in rows) / total for n in names]
    cells = " | ".join(f"**{mean:.1%}**" for mean in means)
    lines.append(f"| all | {total} | | {cells} | |")
    behind = means[2] - means[0]
    distance = f"The language model is {behind:.1%} of the blocks behind ridge."
    if all("block_accuracy_lm" in row for row in rows):
        alone = sum(row["block_accuracy_lm"] * row["n_blocks"] for row in rows) / total
        distance += f" Without the ridge as evidence it decodes {alone:.1%}."
    return "\n".join([*lines, "", f"Chance is {rows[0]['block_chance']:.1%}. {distance}"])


def training_table(rows: list[dict[str, Any]]) -> str:
    """Whether training waits for its data: share of the time, first epoch and all."""
    lines = [
        "| cohort and stage | windows/s | tokens/s | waiting, first epoch | waiting, whole stage |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        tokens = f"{row['tokens_per_s']:.0f}" if row["tokens_per_s"] else "no language model"
        lines.append(
            f"| {row['case']} | {row['windows_per_s']:.1f} | {tokens} | {row['wait_first']:.1%} "
            f"| {row['wait']:.1%} |"
        )
    load = max(row["load_before"] for row in rows)
    return "\n".join([*lines, "", f"Load of the machine before: {load:.1f} (idle: 0)."])


def found_table(rows: list[dict[str, Any]]) -> str:
    """Scores of a linear decoder on real recordings, each beside its null."""
    lines = ["| score | value (95 % interval) | chance | p | n |", "|---|---|---|---|---|"]
    row = rows[-1]
    for name in (key.removesuffix("_chance") for key in row if key.endswith("_chance")):
        low, high = row[f"{name}_ci"]
        chance, p = row[f"{name}_chance"], row[f"{name}_p"]
        value = f"{row[name]:.1%} ({low:.1%}-{high:.1%})"
        lines.append(f"| {FOUND[name]} | {value} | {chance:.1%} | {p:.4f} | {row['n']} |")
    return "\n".join(lines)


FOUND = {
    "two_way": "right of two",
    "top1": "first of all",
    "top5": "among the first five",
    "pairwise_unigram": "nearest-text unigram prefers the own brain",
    "two_way_group": "right of two, mean of half of the listeners",
    "top1_group": "first of all, mean of half of the listeners",
    "top5_group": "among the first five, mean of half of the listeners",
}


def story_table(rows: list[dict[str, Any]]) -> str:
    """A decoded story: what single listeners and the mean of half of them give."""
    row = rows[-1]
    lines = ["| score | single listeners | mean of half | chance | p |", "|---|---|---|---|---|"]
    for key, name in STORY.items():
        value = row.get(key, row.get(f"{key}_vs_permuted"))
        group = row.get(f"{key}_group", row.get(f"{key}_vs_permuted_group"))
        lines.append(
            f"| {name} | {value:.3f} | {group:.3f} | {row[f'{key}_chance']:.3f} "
            f"| {row[f'{key}_p']:.3f}, {row[f'{key}_group_p']:.3f} |"
        )
    for decoder in ("BrainLLM", "encoding model"):
        for metric, found in row[decoder].items():
            lines.append(
                f"| {metric}, {decoder} | | {found['value']:.3f} | {found['chance']:.3f}; without "
                f"brain {found['prompt_alone']:.3f} | {found['p']:.3f} |"
            )
    return "\n".join(lines)


STORY = {
    "word_rate_r": "correlation of predicted and true words a window",
    "retrieval_2way": "right of two, predicted embedding",
    "pairwise": "true window likelier by its own brain",
}


def once_table(rows: list[dict[str, Any]]) -> str:
    """What takes minutes and ran once."""
    lines = ["| case | who | time | over ours | note |", "|---|---|---|---|---|"]
    for row in rows:
        over = "" if row["provider"] == "fastbrain" else f"{row['ratio_to_fastbrain']:.1f}x"
        share = row.get("share", 1.0)
        if "ms_cpu" in row:
            over += f" (processor {row['ms_cpu'] / 1e3:.1f} s)"
        part = "" if share == 1 else f" for {share:.1%} of it, {row['ms_whole'] / 1e3:.0f} s in all"
        lines.append(
            f"| {row['case']} | {row['provider']} | {row['ms_p50'] / 1e3:.1f} s{part} | {over} "
            f"| {row['note']} |"
        )
    return "\n".join(lines)


RECIPES = {
    "demo": demo_table,
    "haxby": haxby_table,
    "training": training_table,
    "load": load_table,
    "pereira_ridge": found_table,
    "alice_retrieval": found_table,
    "alice_story": story_table,
    "pca": once_table,
    "brainllm_permutations": once_table,
}


def report(machine: str | None = None, *, short: bool = False, recipes: bool = True) -> str:
    """The tables, by operation and then machine; recipes, which are no ratios, come last.

    `short`: of the strongest rivals alone; `recipes`: False leaves them out.
    """
    rows = latest(machine)
    if not rows:
        return "No benchmark rows are committed."
    parts: list[str] = []
    tables: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        tables.setdefault((group(row), row["env"]["threads"]), []).append(row)
    last = None
    for (name, _), own in sorted(tables.items(), key=_place):
        op = own[0]["op"]
        if op in FACTS or op.startswith(VERDICTS) or (op in RECIPES and not recipes):
            continue
        if op not in RECIPES:
            # where ours failed, or a row has no rival, there is nothing to compare with
            own = [row for row in own if row.get("ratio_to_fastbrain") is not None]
            if not own:
                continue
        env = own[-1]["env"]
        measured = (
            f"{env['threads']} threads, {env['isa']}, torch {env['torch']}, "
            f"commit {env['commit']}, {env['date'][:10]}"
        )
        if op != last:
            parts.append(f"### {op}")
            last = op
        parts.append("#### " + ", ".join([device_of(own[-1]), *(str(v) for v in name[2:] if v)]))
        if op in RECIPES:
            parts += [f"{measured}.", RECIPES[op](own)]
        else:
            parts += [
                f"{measured}; medians, and times fastbrain's with a 95 % interval.",
                summary(own) if short else table(own),
                where_we_lose(own),
            ]
    return "\n\n".join(parts)


def _place(entry: tuple[tuple[Any, ...], list[dict[str, Any]]]) -> tuple[Any, ...]:
    (name, threads), own = entry
    op = own[0]["op"]
    return op in RECIPES, op, device_of(own[-1]), *(str(value or "") for value in name[2:]), threads


def write(root: Path) -> None:
    """Put the overview between the markers of the README, and all tables into the manual."""
    best = overview.strongest(latest(None), is_rival)
    readme = root / "README.md"
    text = pages.between(readme.read_text(), "numbers", overview.headline(best))
    write_atomic(readme, text)
    overview.plot(best, root / "docs" / "images" / "speed.svg")
    title = (
        "# Numbers\n\nGenerated from the rows in `benchmarks/results/` by `make bench-report`. "
        "`warm`: the same arguments again; `cold`: the caches hold other data before each call; "
        "`call`: with the launches of the host; `graph`: the replay of a CUDA graph."
    )
    body = report(short=True).replace("### ", "## ")  # and so #### to ###
    body += f"\n\n{pages.sections(all_rows())}\n\n## Every provider\n\n{report(recipes=False)}"
    write_atomic(root / "docs" / "numbers.md", f"{title}\n\n{body}\n")
    pages.write_pages(root / "docs", all_rows())


def main() -> None:
    """Print the report, or write it where it is read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--machine", help="folder below benchmarks/results; default: all")
    some.add_argument("--write", action="store_true", help="all, into README.md and docs/")
    args = parser.parse_args()
    if args.write:
        write(Path(__file__).parent.parent)
    else:
        print(report(args.machine))


if __name__ == "__main__":
    main()
