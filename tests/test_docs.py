"""What the documents say holds: links lead somewhere, examples run, names, commands and signatures exist.

Conventions for whoever writes a document:
- a fenced `python` block with `>>>` is run, all of one document in one namespace, in an empty folder;
- a fenced `python` block that begins with `# rarera_sim/….py` shows signatures of that file, `...` for the bodies,
  and they must be those of the code;
- in the table of layers, those that hold code stand in backquotes;
- text in backquotes such as `core.inbox.Inbox` or `tests/core/test_event.py` names something that exists;
- a line of a `console`, `sh` or `bash` block, or text in backquotes, that begins with `rarera` is a real command.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "docs", "docs/howto", "docs/api", "data", "notebooks")
DOCUMENTS = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md") if path.is_file())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MARKDOWN = MarkdownIt("commonmark").enable("table")
SHELLS = {"console", "sh", "bash", "shell"}
# Paths that exist on the machine of whoever wrote them.
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|root|tmp|work(?:space)?)/\w[\w./-]*|\b[A-Z]:\\\w")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


# Reading Markdown


def tokens_of(text: str) -> Iterator[Token]:
    """Every token, those inside a line as well."""
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def links_of(text: str) -> list[str]:
    found = [token.attrGet("href") or token.attrGet("src") for token in tokens_of(text)]
    return [str(target) for target in found if target is not None]


def anchors_of(text: str) -> set[str]:
    """What a link may name after "#", as GitHub makes it from the headings."""
    anchors: set[str] = set()
    counts: dict[str, int] = {}
    tokens = MARKDOWN.parse(text)
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            words = "".join(token.content for token in inline.children or () if token.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
            count = counts.get(slug, 0)
            counts[slug] = count + 1
            anchors.add(f"{slug}-{count}" if count else slug)
    return anchors | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def blocks_of(text: str, *languages: str) -> list[tuple[int, str]]:
    """The fenced blocks of these languages: number of the first line, from 0, and content."""
    return [
        (token.map[0] + 1 if token.map else 0, token.content)
        for token in MARKDOWN.parse(text)
        if token.type == "fence" and token.info.split(" ")[0] in languages
    ]


def code_in_lines_of(text: str) -> list[str]:
    return [token.content for token in tokens_of(text) if token.type == "code_inline"]


def tables_of(text: str) -> list[list[list[str]]]:
    """Every table as rows of cells, the header left out."""
    tables: list[list[list[str]]] = []
    in_body = False
    for token in MARKDOWN.parse(text):
        match token.type:
            case "table_open":
                tables.append([])
            case "tbody_open" | "tbody_close":
                in_body = token.type == "tbody_open"
            case "tr_open" if in_body:
                tables[-1].append([])
            case "inline" if in_body:
                tables[-1][-1].append(token.content)
    return tables


# Links


def broken_links(document: Path, text: str) -> list[str]:
    broken = []
    for link in links_of(text):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue  # elsewhere: tests do not go there
        name, _, anchor = unquote(link).partition("#")
        target = (document.parent / name).resolve() if name else document
        if name and not (target.is_relative_to(ROOT) and target.exists()):
            broken.append(f"{link}: there is no {name}")
        elif anchor and target.suffix == ".md":
            there = text if target == document else target.read_text(encoding="utf-8")
            if anchor not in anchors_of(there):
                broken.append(f"{link}: there is no heading #{anchor}")
    return broken


@every_document
def test_every_link_leads_somewhere(document: Path) -> None:
    assert broken_links(document, document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    ["[a](no-such-file.md)", "![a](no-such-picture.png)", "[a](#no-heading)", "[a][b]\n\n[b]: gone.md", "[a](../../x)"],
)
def test_a_link_that_leads_nowhere_is_found(text: str) -> None:
    assert broken_links(ROOT / "docs" / "planted.md", text)


def test_anchors_are_made_as_github_makes_them() -> None:
    text = "# What, `code` & why?\n## Twice\n## Twice\n```\n# no heading\n```\n"
    assert anchors_of(text) == {"what-code--why", "twice", "twice-1"}
    assert broken_links(ROOT / "docs" / "planted.md", text + "[a](#twice-1) [b](https://example.org/#x)") == []


# Examples


def failing_examples(name: str, text: str) -> str:
    """What doctest has to say about the blocks with a prompt, one after the other; "" when all is well."""
    said: list[str] = []
    namespace: dict[str, Any] = {"__name__": "__main__"}
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    for line, block in blocks_of(text, "python", "pycon"):
        if ">>>" in block:
            test = doctest.DocTestParser().get_doctest(block, namespace, name, name, line)
            test.globs = namespace  # get_doctest takes a copy, and each block goes on where the last one ended
            doctest.DocTestRunner(optionflags=flags).run(test, out=said.append, clear_globs=False)
    return "".join(said)


@every_document
def test_every_example_runs(document: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert failing_examples(str(document.relative_to(ROOT)), document.read_text(encoding="utf-8")) == ""


@every_document
def test_every_block_of_python_is_python(document: Path) -> None:
    for line, block in blocks_of(document.read_text(encoding="utf-8"), "python"):
        if ">>>" not in block:
            compile("\n" * line + block, str(document), "exec", ast.PyCF_ONLY_AST)


def test_an_example_that_does_not_hold_is_found() -> None:
    good = "```python\n>>> x = 1\n```\nand\n```python\n>>> x + 1\n2\n```\n"
    assert failing_examples("planted", good) == ""
    assert "Expected" in failing_examples("planted", good + "```python\n>>> x\n3\n```\n")


# Signatures and names


def definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Classes, functions and methods by name, with what can be said of them from outside."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, "class"
            yield from definitions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            decorators = " ".join(f"@{ast.unparse(each)}" for each in node.decorator_list)
            yield prefix + node.name, f"{decorators} ({ast.unparse(node.args)}){returns}".strip()
        elif isinstance(node, ast.AnnAssign) and prefix:
            value = f" = {ast.unparse(node.value)}" if node.value else ""
            yield prefix + ast.unparse(node.target), f"{ast.unparse(node.annotation)}{value}"


def wrong_signatures(text: str) -> list[str]:
    wrong = []
    for _, block in blocks_of(text, "python"):
        head = re.match(r"# (rarera_sim/\S+\.py)", block)
        if head is None:
            continue
        if not (ROOT / head[1]).exists():
            wrong.append(f"there is no {head[1]}")
            continue
        code = dict(definitions(ast.parse((ROOT / head[1]).read_text(encoding="utf-8")).body))
        for name, shown in definitions(ast.parse(block).body):
            if code.get(name) != shown:
                wrong.append(f"{head[1]}: {name} is shown as {shown!r} and is {code.get(name)!r}")
    return wrong


@every_document
def test_every_signature_is_the_one_of_the_code(document: Path) -> None:
    assert wrong_signatures(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "# rarera_sim/core/nowhere.py\n",
        "# rarera_sim/core/time.py\nclass Watch: ...\n",
        "# rarera_sim/core/time.py\nclass Clock:\n    def now(self) -> float: ...\n",
        "# rarera_sim/core/time.py\ndef from_seconds(minutes: float) -> Timestamp: ...\n",
    ],
)
def test_a_signature_that_is_not_the_one_of_the_code_is_found(text: str) -> None:
    assert wrong_signatures(f"```python\n{text}```\n")


def missing_names(text: str) -> list[str]:
    """Files and dotted names in backquotes that do not exist."""
    layers = "|".join(path.stem for path in (ROOT / "rarera_sim").iterdir() if path.is_dir() or path.suffix == ".py")
    missing = []
    for code in code_in_lines_of(text):
        if re.fullmatch(r"(?:rarera_sim|tests|docs|data|notebooks|\.ci)/[\w./-]+", code):
            if not (ROOT / code).exists():
                missing.append(code)
        elif re.fullmatch(rf"(?:rarera_sim\.)?(?:{layers})(?:\.[A-Za-z_]\w*)+(?:\(\))?", code) and not exists(code):
            missing.append(code)
    return missing


def exists(code: str) -> bool:
    """Whether `core.log.EventLog.append` names something: a module as far as there are modules, then attributes."""
    name = "rarera_sim." + code.removeprefix("rarera_sim.").removesuffix("()")
    parts = name.split(".")
    depth = 1
    while depth < len(parts) and importlib.util.find_spec(".".join(parts[: depth + 1])):
        depth += 1
        if not (ROOT / "/".join(parts[:depth])).is_dir():
            break
    found: Any = importlib.import_module(".".join(parts[:depth]))
    for part in parts[depth:]:
        # A field without a default is no attribute of its class.
        fields = getattr(found, "__annotations__", {}) if isinstance(found, type) else {}
        if not hasattr(found, part):
            return part in fields and part == parts[-1]
        found = getattr(found, part)
    return True


@every_document
def test_every_file_and_name_in_backquotes_exists(document: Path) -> None:
    assert missing_names(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("code", ["docs/nowhere.md", "core.nowhere", "core.log.EventLog.erase", "rarera_sim.core.x.Y"])
def test_a_name_that_does_not_exist_is_found(code: str) -> None:
    assert missing_names(f"See `{code}`.") == [code]


@pytest.mark.parametrize("code", ["core", "core.log.EventLog.append", "core.event.Event.stream", "docs/canonical.md"])
def test_a_name_that_exists_is_left_alone(code: str) -> None:
    assert missing_names(f"See `{code}`.") == []


def layers_said_wrongly(text: str) -> list[str]:
    """Rows of the first table whose name stands in backquotes without code, or without them although there is code."""
    wrong = []
    for name, *_ in tables_of(text)[0]:
        path = ROOT / "rarera_sim" / name.strip("`")
        if name.startswith("`") != (path.is_dir() or path.with_suffix(".py").exists()):
            wrong.append(name)
    return wrong


def test_the_layers_in_backquotes_are_those_that_hold_code() -> None:
    assert layers_said_wrongly((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")) == []


def test_a_layer_that_is_said_wrongly_is_found() -> None:
    table = "| layer | |\n| --- | --- |\n| `core` | |\n| policies | |\n| `attic` | |\n| `theory` | |\n"
    assert layers_said_wrongly(table) == ["policies", "`attic`"]


# Commands


def commands_of(text: str) -> Iterator[list[str]]:
    """The words after `rarera` of every command that a document shows, up to a pipe or the like."""
    lines = [line for _, block in blocks_of(text, *SHELLS) for line in block.replace("\\\n", " ").splitlines()]
    for line in lines + code_in_lines_of(text):
        shown = re.match(r"\s*(?:\$ )?(?:\S*/)?rarera(?: (.*))?$", line)
        if shown:
            lexer = shlex.shlex(shown[1] or "", posix=True, punctuation_chars="&;<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if word in {"|", "&", "&&", ";", ">", ">>", "<"}:
                    break
                words.append(word)
            yield words


def wrong_words(command: Any, words: list[str]) -> list[str]:
    """What of these words the click command does not know: a sub-command, or an option."""
    wrong = []
    for word in words:
        options = {name for each in command.params for name in [*each.opts, *each.secondary_opts]} | {"--help"}
        if word.startswith("-") and not re.match(r"-\d", word):
            if word.partition("=")[0] not in options:
                wrong.append(word)
        elif hasattr(command, "commands"):
            # `rarera log state|verify LOG` stands for two commands.
            names = [name for name in word.split("|") if re.fullmatch(r"[a-z][a-z-]*", name)]
            wrong += [name for name in names if name not in command.commands]
            if not names or wrong:
                break
            command = command.commands[names[0]]
    return wrong


@every_document
def test_every_command_exists(document: Path) -> None:
    shown = list(commands_of(document.read_text(encoding="utf-8")))
    if shown and importlib.util.find_spec("rarera_sim.cli") is None:
        pytest.skip("rarera_sim.cli is not there yet")
    for words in shown:
        main = importlib.import_module("rarera_sim.cli").cli
        assert wrong_words(main, words) == [], f"rarera {' '.join(words)}"


def test_a_command_that_does_not_exist_is_found() -> None:
    import click

    run = click.Command("run", params=[click.Option(["--seed"]), click.Option(["--json/--table"])])
    log = click.Group("log", commands={"state": click.Command("state", params=[click.Argument(["log"])])})
    main = click.Group("rarera", commands={"run": run, "log": log})
    text = "`rarera run --seed 7`\n```console\n$ rarera log state out/x.sqlite | head\n$ rarera run --table > x\n```\n"
    assert list(commands_of(text)) == [
        ["log", "state", "out/x.sqlite"],
        ["run", "--table"],
        ["run", "--seed", "7"],
    ]
    assert [wrong_words(main, words) for words in commands_of(text)] == [[], [], []]
    for wrong in ("rarera walk", "rarera run --sed 7", "rarera log state|stat LOG"):
        (words,) = commands_of(f"`{wrong}`")
        assert wrong_words(main, words)


# The glossary


def terms_of(text: str) -> list[str]:
    """The first column of every table, "a, b" being two terms."""
    return [term.strip() for table in tables_of(text) for row in table for term in row[0].split(",")]


def twice(terms: list[str]) -> list[str]:
    lower = [term.lower() for term in terms]
    return sorted({term for term in lower if lower.count(term) > 1})


def test_every_term_stands_once_in_the_glossary_and_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = terms_of(text)
    assert len(terms) > 30
    assert twice(terms) == []
    firsts = [row[0].lower() for table in tables_of(text) for row in table]
    assert firsts == sorted(firsts)
    assert [row[0] for table in tables_of(text) for row in table if len(row[1]) < 10] == []


def test_a_term_that_stands_twice_is_found() -> None:
    assert twice(terms_of("| term | is |\n| --- | --- |\n| event | x |\n| UID, Event | y |\n")) == ["event"]


def measures_of(text: str) -> set[str]:
    """The names in backquotes in the first column of the tables."""
    return {name for table in tables_of(text) for row in table for name in re.findall(r"`(\w+)`", row[0])}


def test_every_measure_of_a_run_is_explained() -> None:
    from rarera_sim.experiments.run import run
    from rarera_sim.experiments.scenario import default_scenario

    scenario = default_scenario()
    hours = msgspec.structs.replace(scenario.trace, until="2013-02-06T14:00:00Z", train_from="2013-02-04T00:00:00Z")
    measures = run(
        msgspec.structs.replace(scenario, trace=hours, run=msgspec.structs.replace(scenario.run, warmup=0.0))
    )
    explained = measures_of((ROOT / "docs" / "faults-and-measures.md").read_text(encoding="utf-8"))
    assert set(measures.measures) - explained == set()


def unknown_settings(names: list[str]) -> list[str]:
    """Dotted names that are no fields of a scenario."""
    from rarera_sim.experiments.scenario import Scenario

    unknown = []
    for name in names:
        kind: Any = Scenario
        for part in name.split("."):
            fields = {field.name: field.type for field in msgspec.structs.fields(kind)} if kind else {}
            if part not in fields:
                unknown.append(name)
                break
            kind = fields[part] if isinstance(fields[part], type) else None
    return unknown


def test_every_fault_is_set_by_a_field_of_a_scenario() -> None:
    faults = tables_of((ROOT / "docs" / "faults-and-measures.md").read_text(encoding="utf-8"))[0]
    assert unknown_settings([name for row in faults for name in re.findall(r"`([^`]+)`", row[1])]) == []
    assert unknown_settings(["channel.loss", "channel.los", "chanel.loss", "seed"]) == [
        "channel.los",
        "chanel.loss",
        "seed",
    ]


# Decisions


def dependencies() -> set[str]:
    """Every package that pyproject.toml asks for: to run, for an extra, to develop; and the one that builds."""
    project = PROJECT["project"]
    wanted = [*PROJECT["build-system"]["requires"], *project["dependencies"]]
    for part in (*project["optional-dependencies"].values(), *PROJECT["dependency-groups"].values()):
        wanted += part
    names = {str(re.split(r"[\[<>=!~; ]", requirement)[0]).lower().replace("_", "-") for requirement in wanted}
    return names - {project["name"]}


def packages_decided(text: str) -> dict[str, list[str]]:
    """The rows of the tables whose first cell is packages in backquotes, such as `psycopg`, by package."""
    return {
        package.lower(): row
        for table in tables_of(text)
        for row in table
        if re.fullmatch(r"`[\w-]+`(?:, `[\w-]+`)*", row[0])
        for package in re.findall(r"`([\w-]+)`", row[0])
    }


def test_every_dependency_has_its_reason() -> None:
    decided = packages_decided((ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"))
    assert dependencies() - set(decided) == set()
    assert [name for name, row in decided.items() if len(row[2]) < 20] == []


def test_no_reason_is_left_of_a_dependency_that_is_gone() -> None:
    decided = packages_decided((ROOT / "docs" / "decisions.md").read_text(encoding="utf-8"))
    assert set(decided) - dependencies() == set()


def test_dependencies_are_read_in_every_form() -> None:
    assert {"orjson", "psycopg", "hatchling", "pytest-xdist", "eventsourcing"} <= dependencies()
    table = "| package | x | why |\n| --- | --- | --- |\n| `a-b`, `c` | - | because |\n| no package | - | - |\n"
    assert set(packages_decided(table)) == {"a-b", "c"}


# The change log, and the machine


def test_the_change_log_has_the_form_of_keep_a_changelog() -> None:
    headings = re.findall(r"^(##+) (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [title for level, title in headings if level == "##"]
    kinds = {title for level, title in headings if level == "###"}
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version) for version in versions[1:])
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def places_of_one_machine(text: str) -> list[str]:
    return [found[0] for found in MACHINE.finditer(text)]


def test_nothing_names_a_place_on_one_machine() -> None:
    written = [*DOCUMENTS, *(ROOT / "rarera_sim").rglob("*.py"), *(ROOT / "data").glob("*.py"), ROOT / "Makefile"]
    found = {str(path.relative_to(ROOT)): places_of_one_machine(path.read_text(encoding="utf-8")) for path in written}
    assert {path: places for path, places in found.items() if places} == {}


@pytest.mark.parametrize("text", ["see /home/ada/x", "`/root/x`", "(/Users/ada)", "in /tmp/x.db", r"C:\Users"])
def test_a_place_on_one_machine_is_found(text: str) -> None:
    assert places_of_one_machine(text)


@pytest.mark.parametrize("text", ["sqlite:////data/log.db", "out/report.html", "tests/tmp/x", "$HOME/x", "1/s, 2/home"])
def test_a_place_on_every_machine_is_left_alone(text: str) -> None:
    assert places_of_one_machine(text) == []
