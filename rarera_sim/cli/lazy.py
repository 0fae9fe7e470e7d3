"""Commands that are imported when somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class Commands(MutableMapping[str, click.Command]):
    """The commands of a group by name, each in a module that is loaded on first use.

    Parameters
    ----------
    places
        Where each command is, `module:name`.

    Examples
    --------
    >>> commands = Commands({"bench": "rarera_sim.cli.bench:bench", "run": "rarera_sim.cli.run:run"})
    >>> list(commands), commands["bench"].name
    (['bench', 'run'], 'bench')
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self._places[name].partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places.setdefault(name, "")
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._loaded.pop(name, None)

    def __contains__(self, name: object) -> bool:
        # Not by looking it up, as a mapping would: to be asked about is not to be used.
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
