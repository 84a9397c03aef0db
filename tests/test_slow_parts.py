"""Each slow test is in one part of `make test`, each quick one in all."""

from __future__ import annotations

from types import SimpleNamespace

from slow_parts import divided


def item(name: str, **slow: object) -> SimpleNamespace:
    """A collected test; with keywords, one that is marked slow."""
    mark = SimpleNamespace(kwargs=slow) if slow else None
    return SimpleNamespace(nodeid=name, get_closest_marker=lambda _: mark)


def kept(part: int, parts: int, items: list[SimpleNamespace]) -> list[str]:
    """Names of the tests that are run."""
    run, left_out = divided(items, part, parts)
    assert sorted(i.nodeid for i in (*run, *left_out)) == sorted(i.nodeid for i in items)
    return [i.nodeid for i in run]


def test_parts_hold_every_slow_test_once_and_files_whole():
    quick = [item(f"a.py::quick{i}") for i in range(5)]
    whole = [item(f"{file}.py::slow{i}", seconds=20.0) for file in "abcdefgh" for i in range(3)]
    apart = [item(f"x.py::slow{i}", apart=True) for i in range(40)]
    parts = [kept(part, 4, [*quick, *whole, *apart]) for part in (1, 2, 3, 4)]
    names = [name for part in parts for name in part]
    assert all(names.count(i.nodeid) == 4 for i in quick)
    assert all(names.count(i.nodeid) == 1 for i in (*whole, *apart))
    for file in "abcdefgh":
        assert sum(any(f"{file}.py::slow" in name for name in part) for part in parts) == 1
    assert all(any("x.py" in name for name in part) for part in parts)
    # the longest come first
    assert all("slow" in name for name in parts[0][: len(parts[0]) - len(quick)])


def test_all_are_run_where_no_part_is_named():
    items = [item("a.py::quick"), item("b.py::slow", seconds=100.0), item("c.py::slow", apart=True)]
    assert set(kept(1, 1, items)) == {i.nodeid for i in items}
