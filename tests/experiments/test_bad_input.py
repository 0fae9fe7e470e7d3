"""What people hand in by mistake or on purpose, case by case: a scenario file says in one line what is wrong and where.

Traces have the same list in test_traces.py.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
from pathlib import Path

import msgspec
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.run import run
from rarera_sim.experiments.scenario import check_scenario, load_scenario, parse_scenario
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.line import EventClass, LineSettings

GOOD = """name = "good"
[arrivals]
kind = "poisson"
rate = 5.0
[service]
mean = 0.1
[channel]
loss = 0.01
[control]
replicas_max = 10
[objective]
bound = 2.0
[run]
duration = 60.0
[[configurations]]
transport = "log"
policy = "fixed"
parameters = {replicas = 4}
"""


def changed(before: str, after: str) -> bytes:
    assert before in GOOD
    return GOOD.replace(before, after, 1).encode()


TRACED = b"""name = "traced"
trace = {name = "nyc-flights", since = "@"}
[[configurations]]
transport = "log"
policy = "hpa"
"""
FILES: dict[str, tuple[bytes, str]] = {
    # encodings
    "utf-16": (GOOD.encode("utf-16"), "is not UTF-8"),
    "latin-1": (changed('"good"', '"gu\u00e9"').decode().encode("latin-1"), "is not UTF-8"),
    "nul": (changed('"good"', '"go\0od"'), "is not TOML.*line 1"),
    "lone surrogate, escaped": (changed('"good"', r'"\uD800"'), "is not TOML.*line 1"),
    "lone surrogate, in bytes": (changed('"good"', '"@"').replace(b"@", b"\xed\xa0\x80"), "is not UTF-8"),
    "byte order mark in the middle": (changed("[service]", "\ufeff[service]"), "is not TOML.*line 5"),
    # numbers
    "nan": (changed("rate = 5.0", "rate = nan"), "arrivals.rate is nan; a number must be finite"),
    "infinity": (changed("mean = 0.1", "mean = inf"), "service.mean is inf; a number must be finite"),
    "minus infinity": (changed("mean = 0.1", "mean = -inf"), "service.mean is -inf; a number must be finite"),
    "too large for a float": (changed("rate = 5.0", "rate = 1e999"), "arrivals.rate is inf; a number must be finite"),
    "minus zero": (changed("rate = 5.0", "rate = -0.0"), "arrivals.rate: expected `float` > 0.*got -0.0"),
    "2^64": (
        changed("replicas_max = 10", "replicas_max = 18446744073709551616"),
        "control.replicas_max: .*18446744073",
    ),
    "fraction for a whole number": (changed("replicas_max = 10", "replicas_max = 10.5"), "replicas_max: .*got 10.5"),
    "decimal comma": (changed("rate = 5.0", "rate = 5,0"), "is not TOML.*line 4"),
    "text for a number": (changed("rate = 5.0", 'rate = "5.0"'), "arrivals.rate: expected `float`, .*got '5.0'"),
    "bool for a float": (changed("rate = 5.0", "rate = true"), "arrivals.rate: expected `float`, .*got True"),
    "bool for a whole number": (changed("replicas_max = 10", "replicas_max = true"), "replicas_max: .*got True"),
    "number for a name": (changed('"good"', "5"), "name: expected `str`, .*got 5"),
    "leading zero": (changed("replicas_max = 10", "replicas_max = 010"), "is not TOML.*line 10"),
    # times
    "a trace without a time zone": (TRACED.replace(b"@", b"2013-02-03T00:00"), "trace.since: time .* has no time zone"),
    "year 9999": (TRACED.replace(b"@", b"9999-01-01T00:00:00Z"), "trace.since: time 9999.* is outside 1970-01-01"),
    "the 30th of February": (TRACED.replace(b"@", b"2013-02-30T00:00:00Z"), "trace.since: time '2013-02-30"),
    "negative time": (changed("duration = 60.0", "duration = -60.0"), "run.duration: expected `float` > 0.*got -60.0"),
    # structure
    "empty": (b"", "is empty"),
    "blank": (b" \n\t\n", "is empty"),
    "header only": (b'name = "good"\n', "'configurations' is missing"),
    "array for a table": (
        b"service = [0.1]\n" + changed("[service]\nmean = 0.1\n", ""),
        "service: expected `object`, got `array`",
    ),
    "table for an array": (
        GOOD.replace("[[conf", "[conf").replace("ions]]", "ions]").encode(),
        "configurations: expected",
    ),
    "no configuration": (GOOD[: GOOD.index("[[")].encode() + b"configurations = []\n", "configurations|run.conf"),
    "extra key": (changed("mean = 0.1", "mean = 0.1\nmena = 1.0"), "'service.mena'; did you mean 'mean'"),
    "repeated key": (changed("mean = 0.1", "mean = 0.1\nmean = 0.2"), "is not TOML.*line 7"),
    "repeated table": (GOOD.encode() + b"[service]\nmean = 1.0\n", "is not TOML.*line 19"),
    "trailing garbage": (GOOD.encode() + b"}}", "is not TOML.*line 19"),
    "deep": (changed("rate = 5.0", f"rate = {'[' * 100_000}"), "is not TOML"),
    "deep and closed": (changed("rate = 5.0", f"rate = {'[' * 5_000}{']' * 5_000}"), "is not TOML|arrivals.rate"),
    "key of many dots": (b".".join([b"a"] * 10_000) + b" = 1\n" + GOOD.encode(), "more than twenty dots"),
    "large": (b"#" * 2_000_000, "has 2000000 bytes, allowed are 1000000"),
    "gzip": (gzip.compress(GOOD.encode()), "is not UTF-8|is not TOML"),
    # what does not exist
    "unknown kind": (changed('"poisson"', '"poison"'), "no kind 'poison'; did you mean 'poisson'"),
    "unknown policy": (changed('"fixed"', '"fixd"'), "unknown policy 'fixd'; did you mean 'fixed'"),
    "unknown transport": (changed('"log"', '"lgo"'), r"configurations\[0\].transport: .*'lgo'"),
    # what contradicts itself
    "names of pools": (
        GOOD.encode() + 2 * b'[[pools]]\nname = "a"\n[pools.hardware]\nname = "m5-large"\n',
        r"pools\[1\].name is 'a', and so is that of another",
    ),
    "outage of no zone": (
        GOOD.encode() + b'[outages]\nat = [{zone = "b", at = 1.0, duration = 1.0}]\n',
        r"outages.at\[0\].zone is 'b'; there is a in the pools",
    ),
    "asleep beyond the pool": (
        GOOD.encode() + b'[[pools]]\nname = "a"\nreplicas_max = 2\nasleep = 3\n[pools.hardware]\nname = "m5-large"\n',
        r"pools\[0\].asleep is 3; allowed are 0 to replicas_max, 2",
    ),
    "shares beyond 1": (
        GOOD.encode() + b'[line]\ndiscipline = "priority"\nclasses = [{share = 0.7}, {share = 0.7}]\n',
        "line.classes must have shares of 1 in all at most, got 1.4",
    ),
    "type of two classes": (
        GOOD.encode() + b'[line]\nclasses = [{types = ["t"]}, {types = ["t"]}]\n',
        "line.classes name the type 't' twice",
    ),
    "patience of a hedge": (
        GOOD.encode() + b'[line]\ndispatch = "hedged"\npatience = {mean = 1.0}\n',
        "line.patience and dispatch = 'hedged' do not go together",
    ),
    "patience that cannot be": (
        GOOD.encode() + b'[line]\npatience = {distribution = "erlang", scv = 2.0}\n',
        r"line.patience.scv must be in \(0, 1\]",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_is_one_clear_error(tmp_path: Path, case: str) -> None:
    content, message = FILES[case]
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        load_scenario(path)
    said = str(caught.value)
    assert "bad.toml" in said
    assert "\n" not in said
    assert len(said) < 2_000


def test_the_file_that_all_others_are_made_of_is_good(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_scenario(tmp_path / "good.toml") == parse_scenario(GOOD)


def test_a_bad_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "ring.toml").symlink_to(tmp_path / "ring.toml")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("bomb", b"\0" * 10_000_000)
    (tmp_path / "bomb.toml").write_bytes(archive.getvalue())
    for name in (
        "none.toml",
        "folder.toml",
        "pipe.toml",
        "gone.toml",
        "ring.toml",
        "bomb.toml",
        "x\0y.toml",
        "a" * 300,
    ):
        with pytest.raises(BadInput) as caught:
            load_scenario(tmp_path / name)
        assert "\n" not in str(caught.value), name


def test_a_link_and_a_way_up_lead_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "good.toml").write_text(GOOD)
    (tmp_path / "link.toml").symlink_to("good.toml")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "link.toml", tmp_path / "folder" / ".." / "good.toml"):
        assert load_scenario(path).name == "good"


@pytest.mark.parametrize("name", ["'; DROP TABLE events; --", 'a"b', "a/b/../c", "\u202e", "%s{x}", "NA", "null"])
def test_names_that_mean_something_elsewhere_are_names_here(name: str) -> None:
    text = GOOD.replace('"good"', msgspec.json.encode(name).decode())
    content = f'\n[content]\ntypes = {{{msgspec.json.encode(name).decode()} = 1.0}}\n[log]\nstorage = "sqlite"\n'
    outcome = run(parse_scenario(text.replace("[service]", content + "[service]")), seed=1)
    assert outcome.measures["lost"] == 0
    assert outcome.measures["state_correct"]
    assert all(list(types) == [name] for types in outcome.state.values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0, 0.0])
@pytest.mark.parametrize("field", ["mean", "tail"])
def test_a_number_that_no_distribution_has_never_reaches_the_clock(field: str, bad: float) -> None:
    good = parse_scenario(GOOD)
    wrong = msgspec.structs.replace(good.service, distribution="pareto", **{field: bad})
    with pytest.raises(BadInput, match=rf"service\.{field}"):
        check_scenario(msgspec.structs.replace(good, service=wrong))


def test_python_is_told_as_a_file_is() -> None:
    good = parse_scenario(GOOD)
    for line, message in (
        (LineSettings(classes=(EventClass(share=0.9), EventClass(share=0.2))), "line.classes must have shares"),
        (LineSettings(patience=Distribution(mean=float("nan"))), "line.patience.mean is nan"),
        (LineSettings(patience=Distribution(distribution="empirical")), "line.patience.values"),
    ):
        with pytest.raises(BadInput, match=message):
            check_scenario(msgspec.structs.replace(good, line=line))


def test_the_impossible_is_flagged_and_accepted() -> None:
    for change, message in (
        (("rate = 5.0", "rate = 5000.0"), "the backlog grows for ever"),
        (("bound = 2.0", "bound = 0.01"), "no policy can keep it"),
        (("replicas_max = 10", "replicas_max = 0"), "nothing will ever be processed"),
        (("loss = 0.01", "loss = 1.0"), "no frame will ever arrive"),
    ):
        assert any(message in warning for warning in parse_scenario(GOOD.replace(*change)).warnings()), message
    none = run(parse_scenario(GOOD.replace("replicas_max = 10", "replicas_max = 0")), seed=1)
    assert none.measures["lost"] == none.measures["sent"] > 0
    assert none.measures["replicas_mean"] == 0.0
    # Who loses patience leaves, and nothing grows for ever.
    impatient = GOOD.replace("rate = 5.0", "rate = 5000.0") + "[line]\npatience = {mean = 1.0}\n"
    assert parse_scenario(impatient).warnings() == []
