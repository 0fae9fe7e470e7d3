"""What `make` and the documents promise exists."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
DOCUMENTS = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


def make(*arguments: str) -> str:
    # A make that runs these tests hands its own flags and its PYTHON on to every make below it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--no-print-directory", *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return result.stdout


@needs_make
def test_make_alone_lists_every_target_with_a_line_of_help() -> None:
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", make(), re.MULTILINE))
    assert set(listed) == TARGETS


def test_the_targets_that_are_promised_to_stay_are_there() -> None:
    assert {"setup", "run", "test", "check", "lab", "bench"} <= TARGETS


def test_every_target_is_told_to_make_as_no_file() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) >= TARGETS


@needs_make
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_make_knows_how_to_make_each_target(target: str) -> None:
    make("--dry-run", "--assume-new=pyproject.toml", target)


def test_ci_is_a_script_that_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    named = re.findall(r"(?:^|`|\$ )make +([a-z][a-z-]*)", document.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(named) <= TARGETS


class TestBootstrap:
    """The parts of `make setup` that only some machines reach."""

    @pytest.fixture
    def bootstrap(self) -> dict[str, Any]:
        return runpy.run_path(str(ROOT / ".ci" / "bootstrap.py"))

    def test_it_wants_the_python_that_the_package_wants(self, bootstrap: dict[str, Any]) -> None:
        wanted = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        assert wanted is not None
        assert bootstrap["dotted"](bootstrap["PYTHON_MIN"]) == wanted[1]

    def test_every_pinned_uv_has_a_checksum(self, bootstrap: dict[str, Any]) -> None:
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in bootstrap["UV_WHEELS"].values())

    @pytest.mark.parametrize(
        ("system", "machine", "libc", "expected"),
        [
            ("linux", "x86_64", "glibc", "manylinux_2_17_x86_64.manylinux2014_x86_64"),
            ("linux", "aarch64", "glibc", "manylinux_2_28_aarch64"),
            ("linux", "x86_64", "", "musllinux_1_1_x86_64"),
            ("linux", "arm64", "", "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64"),
            ("darwin", "x86_64", "", "macosx_10_12_x86_64"),
            ("darwin", "arm64", "", "macosx_11_0_arm64"),
        ],
    )
    def test_each_machine_gets_its_own_uv(
        self,
        bootstrap: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
        system: str,
        machine: str,
        libc: str,
        expected: str,
    ) -> None:
        monkeypatch.setattr("sys.platform", system)
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr("platform.libc_ver", lambda: (libc, ""))
        assert bootstrap["wheel_tag"]() == expected

    def test_an_unknown_machine_is_told_what_to_do(
        self, bootstrap: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("platform.machine", lambda: "vax")
        with pytest.raises(bootstrap["SetupError"], match="vax; install uv, then run make again"):
            bootstrap["wheel_tag"]()

    def test_a_home_that_cannot_be_written_is_seen(
        self, bootstrap: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        for home, possible in ((str(tmp_path), True), (str(tmp_path / "missing"), False), ("", False), (".", False)):
            monkeypatch.setenv("HOME", home)
            assert bootstrap["cache_possible"]() is possible
