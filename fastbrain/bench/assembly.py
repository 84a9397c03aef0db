"""Entries and problems together with what other packages add to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .plugins import added
from .providers import PEERS
from .registry import FAMILIES, Entry, Problem, Provider, Setting, Way, entries, providers


def all_entries() -> list[Entry]:
    """The entries of every family and of installed plug-ins."""
    return [*entries(), *added().entries]


def provider_names() -> list[str]:
    """Names of all providers, of plug-ins too; some need a package or a GPU."""
    names = {name for family in FAMILIES for name in providers(family)}
    return sorted(names | {peer.name for peer in (*PEERS, *added().providers)})


def assembled(entry: Entry, setting: Setting) -> tuple[Problem, dict[str, str]]:
    """Set an entry up, with the providers of other packages that can run here.

    Returns
    -------
    Problem
    dict of str
        Why each other provider takes no part.
    """
    problem, reasons = entry.build(setting), {}
    ways = dict(problem.providers)
    for peer in (*PEERS, *added().providers):
        if peer.op != entry.op:
            continue
        reason = peer.can_run(problem.inputs, setting)
        if reason is None:
            ways[peer.name] = deferred(peer, problem.inputs, setting)
        else:
            reasons[peer.name] = reason
    return replace(problem, providers=ways), reasons


def deferred(peer: Provider, inputs: Mapping[str, Any], setting: Setting) -> Way:
    """A provider's function, built at its first call: what fails then is that provider's row."""
    built: list[Way] = []

    def way() -> Any:
        if not built:
            built.append(peer.build(inputs, setting))
        return built[0]()

    return way
