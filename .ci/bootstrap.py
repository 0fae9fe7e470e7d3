"""Make `.venv`: the exact packages of uv.lock, on a machine that has git, make and Python and nothing else.

    python3 .ci/bootstrap.py                   with the Python that .venv has, else this one, else a fitting one on PATH
    python3.12 .ci/bootstrap.py --this-python  with this one

uv does the work. It is taken from where it is found first: PATH, `.venv` itself, PyPI by pip, PyPI by hand. The last
is for Debian, which splits pip and venv's ensurepip from Python: one file is fetched, held against the checksum
written below and unpacked into `.venv/bin`. Nothing outside the clone is changed but uv's cache.

Standard library only, and readable by any Python from 3.8 on, so that an old one can say what is wrong.
"""

from __future__ import annotations

import hashlib
import html
import io
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

PYTHON_MIN = (3, 11)  # as in pyproject.toml
PYTHON_BEYOND = (3, 15)  # uv.lock has no wheels of numpy and scipy for it: compiling them takes tools and time
PYTHON_NAMES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")
UV_MIN = (0, 8)  # the oldest that was seen to read this uv.lock and take it as up to date
UV_PINNED = "0.13.9"
UV_WHEELS = {  # platform tag: SHA-256 of uv-0.13.9-py3-none-<tag>.whl
    "manylinux_2_17_x86_64.manylinux2014_x86_64": "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19",
    "manylinux_2_28_aarch64": "ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375",
    "musllinux_1_1_x86_64": "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
    "manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64": (
        "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe"
    ),
    "macosx_10_12_x86_64": "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
    "macosx_11_0_arm64": "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
}
INDEX = "https://pypi.org/simple"

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
VENV_UV = VENV / "bin" / "uv"


class SetupError(Exception):
    """Setting up cannot go on; the text says why, and what to do."""


def main() -> None:
    version, python = find_python(this_only="--this-python" in sys.argv[1:])
    say(f"Python {version} at {python}")
    uv = find_uv() or install_uv(python)
    sync(uv, python)
    if uv == VENV_UV and not VENV_UV.exists():
        say("uv left with the old .venv; it will be fetched again when it is needed")
    say("done: .venv is as uv.lock says")


# Python


def find_python(this_only: bool) -> tuple[str, str]:
    """Version and path of the Python that .venv shall be made of."""
    # Not the python of some active environment, which may be gone tomorrow, but the one it was made from.
    this = platform.python_version(), getattr(sys, "_base_executable", None) or sys.executable
    before = [] if this_only else [str(VENV_PYTHON)]
    after = [] if this_only else map(shutil.which, PYTHON_NAMES)
    for found in itertools.chain(map(ask_python, before), [this], map(ask_python, after)):
        if found and PYTHON_MIN <= release(found[0]) < PYTHON_BEYOND:
            return found
    if release(this[0]) >= PYTHON_BEYOND:
        say(f"Python {this[0]} is newer than what uv.lock was made for, so some packages may have to be compiled")
        return this
    raise SetupError(
        f"RARERA needs Python {dotted(PYTHON_MIN)} or newer, and this is {this[0]} ({this[1]}).\n"
        "       Install a newer one, or name it: make setup PYTHON=/path/to/python3.12"
    )


def ask_python(path: str | None) -> tuple[str, str] | None:
    """Version and path that a Python tells of itself; None if it is none: version managers leave empty shims."""
    question = "import platform as p, sys; print(p.python_version(), getattr(sys, '_base_executable', sys.executable))"
    told = run_quietly([path, "-c", question]) if path else None
    if not told:
        return None
    version, _, executable = told.strip().partition(" ")
    return version, executable


def release(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))


# uv


def find_uv() -> Path | None:
    for path in (shutil.which("uv"), VENV_UV):
        version = uv_version(path)
        if path and version and version >= UV_MIN:
            say(f"uv {dotted(version)} at {path}")
            return Path(path)
        if version:
            say(f"uv {dotted(version)} at {path} is older than {dotted(UV_MIN)}: not used")
    return None


def uv_version(path: str | Path | None) -> tuple[int, ...] | None:
    told = run_quietly([str(path), "--version"]) if path else None
    match = re.match(r"uv (\d+)\.(\d+)\.(\d+)", told or "")
    return tuple(map(int, match.groups())) if match else None


def install_uv(python: str) -> Path:
    if not run_quietly([str(VENV_PYTHON), "-c", "print('alive')"]):
        say("making .venv")
        run([python, "-m", "venv", "--clear", "--without-pip", str(VENV)], "`python -m venv` failed")
    if not pip_brings_uv():
        wheel_brings_uv()
    if not uv_version(VENV_UV):
        raise SetupError("the uv in .venv/bin does not run here; install uv for this machine, then run make again")
    return VENV_UV


def pip_brings_uv() -> bool:
    """Whether pip installed uv: pip knows the user's mirrors, proxies and certificates."""
    if run_quietly([str(VENV_PYTHON), "-c", "import ensurepip"]) is None:
        say("this Python comes without pip (on Debian: the package python3-venv); doing without")
        return False
    say(f"installing uv {UV_PINNED} into .venv")
    for command in (
        [str(VENV_PYTHON), "-m", "ensurepip", "--default-pip"],
        [str(VENV_PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "uv==" + UV_PINNED],
    ):
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode != 0:
            say("`{}` failed; doing without pip. It said:".format(" ".join(command[1:4])))
            print("\n".join("       " + line for line in result.stdout.strip().splitlines()[-5:]), file=sys.stderr)
            return False
    return True


def wheel_brings_uv() -> None:
    tag = wheel_tag()
    name = f"uv-{UV_PINNED}-py3-none-{tag}.whl"
    say(f"fetching {name}")
    wheel = fetch(wheel_address(name))
    digest = hashlib.sha256(wheel).hexdigest()
    if digest != UV_WHEELS[tag]:
        raise SetupError(f"{name} has SHA-256 {digest}, expected {UV_WHEELS[tag]}: not used")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        binary = archive.read(f"uv-{UV_PINNED}.data/scripts/uv")
    # Renamed into place, so that a full disk or Ctrl-C leaves no half of a uv behind.
    part = VENV_UV.with_name("uv.part")
    part.write_bytes(binary)
    part.chmod(0o755)
    os.replace(str(part), str(VENV_UV))


def wheel_tag() -> str:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin":
        tag = {"x86_64": "macosx_10_12_x86_64", "aarch64": "macosx_11_0_arm64"}.get(machine)
    else:
        libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
        tags = [tag for tag in UV_WHEELS if libc in tag and machine in tag and sys.platform == "linux"]
        tag = min(tags, key=len, default=None)
    if tag is None:
        raise SetupError(
            f"no uv {UV_PINNED} is listed here for {sys.platform} {platform.machine()}; install uv, then run make again"
        )
    return tag


def wheel_address(name: str) -> str:
    """Where the package index keeps the file: on a page of links (PEP 503), as every mirror has it."""
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or INDEX
    page = index.rstrip("/") + "/uv/"
    link = re.search(rf'href="([^"#]*{re.escape(name)})["#]', fetch(page).decode("utf-8"))
    if link is None:
        raise SetupError(f"{page} does not offer {name}")
    return urllib.parse.urljoin(page, html.unescape(link.group(1)))


def fetch(address: str) -> bytes:
    request = urllib.request.Request(address, headers={"Accept": "text/html, */*;q=0.1", "User-Agent": "rarera-setup"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return bytes(response.read())
    except (urllib.error.URLError, OSError) as error:
        raise SetupError(
            f"cannot fetch {address}: {error}\n       With no network, install uv or python3-venv by other means."
        ) from None


def sync(uv: Path, python: str) -> None:
    environment = dict(os.environ, UV_PROJECT_ENVIRONMENT=str(VENV), UV_PYTHON_DOWNLOADS="never")
    environment.pop("VIRTUAL_ENV", None)  # uv would warn that it is not the one meant
    if "UV_CACHE_DIR" not in environment and not cache_possible():
        # Inside the clone rather than in /tmp: on one file system uv links files instead of copying a gigabyte.
        environment["UV_CACHE_DIR"] = str(ROOT / "build" / "uv-cache")
    say("installing what uv.lock says into .venv")
    run(
        # Inexact: an exact sync would remove the uv that pip put there.
        [str(uv), "sync", "--locked", "--inexact", "--python", python],
        "uv could not make .venv; its message is above",
        env=environment,
    )


def cache_possible() -> bool:
    """Whether there is a home that uv can keep its cache in."""
    place = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME") or ""
    return os.path.isabs(place) and os.path.isdir(place) and os.access(place, os.W_OK)


# Small things


def run(command: list[str], failure: str, env: dict[str, str] | None = None) -> None:
    result = subprocess.run(command, cwd=str(ROOT), env=env, stdin=subprocess.DEVNULL)
    if result.returncode != 0:
        raise SetupError(failure)


def run_quietly(command: list[str]) -> str | None:
    """What a command prints, or None where it fails or does not exist."""
    try:
        result = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return None
    return result.stdout if result.returncode == 0 else None


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def say(text: str) -> None:
    print("setup: " + text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
