"""Print findings in titled sections: tables on a terminal, lines elsewhere."""

from __future__ import annotations

import sys

Section = list[tuple[str, str]]


def print_sections(sections: dict[str, Section]) -> None:
    """Print the names and values of each section below its title."""
    if sys.stdout.isatty():
        _print_tables(sections)
    else:
        _print_lines(sections)


def _print_lines(sections: dict[str, Section]) -> None:
    width = max(len(name) for rows in sections.values() for name, _ in rows)
    for title, rows in sections.items():
        print(title)
        for name, value in rows:
            print(f"  {name:<{width}}  {value}")


def _print_tables(sections: dict[str, Section]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for title, rows in sections.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, value in rows:
            # Text, so that brackets in a reason are not read as markup
            table.add_row(Text(name), Text(value))
        console.print(table)
