"""The literature behind a result, read from where the code names it: the References of what was used."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from rarera_sim.policies import POLICIES

_SECTION = re.compile(r"^References\n-{3,}\n(.*?)(?=^\S[^\n]*\n-{3,}\n|\Z)", re.MULTILINE | re.DOTALL)
_AUTHORS = re.compile(r"[^\s(][^()]{2,150}\(\d{4}\)")
_ELSEWHERE = "See the module."


class Reference(NamedTuple):
    """An entry of the literature, and what of ours cites it."""

    text: str
    cited_by: tuple[str, ...]


def references(text: str | None) -> list[str]:
    r"""The entries of the References section of a docstring, each on one line.

    >>> references("Title.\n\nReferences\n----------\nErlang (1917), The\ntheory.\nKEDA 2.17, keda.sh.")
    ['Erlang (1917), The theory.', 'KEDA 2.17, keda.sh.']
    >>> references("Title."), references(None)
    ([], [])
    """
    found = _SECTION.search(inspect.cleandoc(text or "") + "\n")
    entries: list[str] = []
    for line in found.group(1).strip().splitlines() if found else ():
        line = line.strip()
        if not line:
            continue
        if entries and not _begins(line, entries[-1]):
            entries[-1] += f" {line}"
        else:
            entries.append(line)
    return entries


def _begins(line: str, before: str) -> bool:
    """Whether a line begins an entry: the one before has ended, or it names authors and a year, or the same body."""
    return before.endswith(".") or bool(_AUTHORS.match(line)) or _first(line) == _first(before)


def _first(line: str) -> str:
    return re.split(r"\W", line, maxsplit=1)[0]


def bibliography(policies: Iterable[str], others: Iterable[Any] = ()) -> list[Reference]:
    """What the policies of these names rest on, their formulas and learners included, in alphabetical order.

    Parameters
    ----------
    policies
        Names in `policies.POLICIES`; others are left out.
    others
        Functions and classes that were used beside them, such as those of the statistics.

    Examples
    --------
    >>> {entry.cited_by for entry in bibliography(["square-root"]) if "Halfin" in entry.text}
    {('square-root',)}
    """
    cited: dict[str, dict[str, None]] = {}
    for name in dict.fromkeys(policies):
        for text in _cited_by(name) if name in POLICIES else ():
            cited.setdefault(text, {})[name] = None
    for other in others:
        for text in _references_of(other):
            cited.setdefault(text, {})[other.__name__] = None
    return [Reference(text, tuple(names)) for text, names in sorted(cited.items(), key=lambda item: item[0].lower())]


@lru_cache
def _cited_by(policy: str) -> tuple[str, ...]:
    # To read the source of all that a policy uses takes a tenth of a second.
    return tuple(text for used in _used(POLICIES[policy]) for text in _references_of(used))


def _references_of(used: Any) -> list[str]:
    found = references(used.__doc__)
    return references(sys.modules[used.__module__].__doc__) if found == [_ELSEWHERE] else found


def _used(policy: type) -> Iterator[Any]:
    """A policy, its bases, and those formulas and learners of ours that their source names."""
    seen: set[Any] = set()
    waiting: list[Any] = [policy]
    while waiting:
        each = waiting.pop()
        if each in seen:
            continue
        seen.add(each)
        yield each
        waiting += [base for base in getattr(each, "__bases__", ()) if base.__module__.startswith("rarera_sim.")]
        waiting += _named_in(each)


def _named_in(used: Any) -> list[Any]:
    """What of `theory` and of the learning layer the source of a class or function names."""
    try:
        source = inspect.getsource(used)
    except OSError:
        return []
    words = set(re.findall(r"\b\w+\b", source))
    found = []
    for name, value in vars(sys.modules[used.__module__]).items():
        if isinstance(value, ModuleType) and value.__name__ == "rarera_sim.theory":
            called = re.findall(rf"\b{name}\.(\w+)", source)
            found += [function for each in called if callable(function := getattr(value, each, None))]
        elif name in words and _ours(value):
            found.append(value)
    return found


def _ours(value: Any) -> bool:
    home = getattr(value, "__module__", "") or ""
    return (inspect.isclass(value) or inspect.isfunction(value)) and home.startswith(
        ("rarera_sim.theory", "rarera_sim.learning.", "rarera_sim.policies.")
    )
