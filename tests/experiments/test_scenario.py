"""A scenario says what is asked, reads back what it writes, and says what is wrong with it in one line."""

from __future__ import annotations

import os
import re

import msgspec
import pytest

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.data import data_folder
from rarera_sim.experiments.scenario import (
    Configuration,
    RunSettings,
    Scenario,
    check_scenario,
    default_scenario,
    load_scenario,
    parse_scenario,
    starter_scenario_text,
)
from rarera_sim.simulation.arrivals import Closed, Poisson
from rarera_sim.simulation.distributions import Distribution
from rarera_sim.simulation.services import ServiceTime

LEAST = 'name = "least"\ntrace = {name = "nyc-flights"}\n[[configurations]]\ntransport = "log"\npolicy = "hpa"\n'
DRAWN = """
name = "drawn"
[arrivals]
kind = "batches"
size_mean = 3.0
batches = {kind = "mixture", parts = [
  {kind = "poisson", rate = 1.0}, {kind = "mmpp", rates = [1.0, 9.0], stays = [5.0, 1.0]}
]}
[content]
types = {ask = 3.0, tell = 1.0}
data = {tokens = {mean = 300.0, scv = 2.0}}
whole = ["tokens"]
[service]
size_field = "tokens"
per_unit = 0.001
[channel]
bursts = {enter = 0.01, leave = 0.2}
partitions = [{since = 10.0, until = 20.0, direction = "to-system"}]
[run]
duration = 100.0
[[configurations]]
transport = "log"
policy = "hpa"
"""
MM10 = data_folder() / "scenarios" / "mm10.toml"


def test_what_is_written_is_read_back() -> None:
    texts = (LEAST, DRAWN, starter_scenario_text())
    for scenario in (default_scenario(), *map(parse_scenario, texts), load_scenario(MM10)):
        assert parse_scenario(scenario.to_toml()) == scenario


def test_hardware_comes_from_the_catalogue_where_the_scenario_does_not_say_otherwise() -> None:
    scenario = parse_scenario(LEAST.replace("[[conf", '[hardware]\nname = "c5-large"\nstart_up = 5.0\n[[conf'))
    assert (scenario.hardware.price_per_hour, scenario.hardware.start_up) == (0.085, 5.0)


def test_a_schema_for_editors_can_be_made() -> None:
    schema = Scenario.json_schema()
    kinds = schema["$defs"]["Scenario"]["properties"]["arrivals"]["anyOf"]
    assert kinds[0]["discriminator"]["propertyName"] == "kind"
    assert "ge" not in schema
    assert schema["$defs"]["Faults"]["properties"]["loss"]["maximum"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name = ", "nmae = "), r"unknown field 'nmae'; did you mean 'name'\?"),
        (("[[conf", "[channel]\nlos = 0.1\n[[conf"), r"unknown field 'channel.los'; did you mean 'loss'\?"),
        (("[[conf", "[channel]\nloss = 1.5\n[[conf"), r"channel.loss: expected `float` <= 1.*, got 1.5"),
        (("[[conf", "[channel]\nloss = nan\n[[conf"), "channel.loss is nan; a number must be finite"),
        (("[[conf", "[channel]\nloss = inf\n[[conf"), "channel.loss is inf"),
        (("[[conf", "[channel]\nloss = true\n[[conf"), "channel.loss: expected `float`, got `bool`, got True"),
        (("[[conf", '[channel]\nloss = "0,1"\n[[conf'), "channel.loss: expected `float`, got `str`, got '0,1'"),
        (("[[conf", "[channel]\ndelay_min = 2.0\n[[conf"), "channel.delay_mean is 0.0 s, less than delay_min, 2.0 s"),
        (("[[conf", "[control]\nreplicas_min = 0\n[[conf"), "control.replicas_min: expected `int` >= 1, got 0"),
        (("[[conf", "[control]\nreplicas_min = 101\n[[conf"), "replicas_min is 101, more than replicas_max, 100"),
        (("[[conf", "[objective]\nquantile = 1.0\n[[conf"), "objective.quantile: expected `float` < 1"),
        (("[[conf", '[service]\ndistribution = "erlang"\nscv = 2.0\n[[conf'), r"service.scv must be in \(0, 1\]"),
        (("[[conf", '[hardware]\nname = "m5-lareg"\n[[conf'), "hardware.name: no hardware 'm5-lareg' .*'m5-large'"),
        (("[[conf", "[source]\nresend_after = 60.0\n[[conf"), "source.resend_after is 60.0 s, more than"),
        (('policy = "hpa"', 'policy = "hap"'), r"configurations\[0\]: unknown policy 'hap'; did you mean 'hpa'\?"),
        (('"hpa"', '"hpa"\nparameters = {traget = 1}'), r"has no parameter 'traget'; did you mean 'target'\?"),
        (('"log"', '"lgo"'), r"configurations\[0\].transport: invalid enum value 'lgo', got 'lgo'"),
        (('policy = "hpa"\n', ""), r"field 'configurations\[0\].policy' is missing"),
        (('{name = "nyc-flights"}', "{}"), "trace needs either name or file or url, got nothing; or give arrivals"),
        (('{name = "nyc-flights"}', '{name = "a", file = "b"}'), "trace needs either name or file"),
        (("[[conf", '[arrivals]\nkind = "poisson"\nrate = 1.0\n[[conf'), "arrivals and trace.name do not go together"),
        (("[[conf", "[run]\nduration = 5.0\n[[conf"), "run.duration is for generated arrivals, got 5.0"),
        (("[[conf", "[content]\nsources = 5\n[[conf"), "content is for generated arrivals"),
        (('"nyc-flights"}', '"nyc-flights", splice = [{since = "2013-02-03", until = "2013-02-01"}]}'), r"splice\[0\]"),
        (
            ('"nyc-flights"}', '"nyc-flights", splice = [{since = "soon", until = "later"}]}'),
            r"splice\[0\].since: time",
        ),
        (
            ("[[conf", "[service]\ntypes = {a = {maen = 1.0}}\n[[conf"),
            r"'service.types\[...\].maen'; did you mean 'mean'",
        ),
        (('"nyc-flights"}', '"nyc-flights", since = "2013-02-03"}'), None),
        (('"nyc-flights"}', '"nyc-flights", since = "2013-02-03T00:00"}'), "trace.since: time .* has no time zone"),
        (('"nyc-flights"}', '"nyc-flights", since = "soon"}'), "trace.since: time 'soon' is not ISO 8601"),
        (
            ('"nyc-flights"}', '"nyc-flights", since = "2013-02-03", until = "2013-02-01"}'),
            "trace must have train_from <= since < until",
        ),
        (('policy = "hpa"\n', 'policy = "hpa"\n' + LEAST[LEAST.index("[[") :]), "two configurations are called"),
        (("name = ", "name = name = "), "is not TOML"),
        (("name = ", ".".join("a" * 3000) + " = 1\nname = "), "more than twenty dots"),
    ],
)
def test_what_is_wrong_is_said_with_its_field_and_value(change: tuple[str, str], message: str | None) -> None:
    text = LEAST.replace(*change, 1)
    assert text != LEAST
    if message is None:
        parse_scenario(text)
        return
    with pytest.raises(BadInput, match=message) as caught:
        parse_scenario(text, place="my.toml")
    assert str(caught.value).startswith("my.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('kind = "batches"', 'kind = "batch"'),
            r"arrivals.kind: no kind 'batch'; did you mean 'batches'\? \(there are",
        ),
        (('kind = "batches"\n', ""), "arrivals.kind|field 'arrivals.kind' is missing"),
        (('"poisson", rate = 1.0', '"poisson", rtae = 1.0'), "rate|rtae"),
        (('"poisson", rate = 1.0', '"poisson", rate = -1.0'), r"arrivals.batches.parts\[0\].rate: .* > 0.*, got -1.0"),
        (
            ('"poisson", rate = 1.0', '"poisson", rate = inf'),
            r"arrivals.batches.parts\[0\].rate is inf; a number must be",
        ),
        (("stays = [5.0, 1.0]", "stays = [5.0]"), r"arrivals.batches.parts\[1\].stays must be as many as rates"),
        (("size_mean = 3.0", "size_mean = 0.5"), r"arrivals.size_mean: expected `float` >= 1.0, got 0.5"),
        (("size_mean = 3.0", "sizemean = 3.0"), r"size_mean' is missing|unknown field 'arrivals.sizemean'"),
        (("duration = 100.0\n", ""), "run.duration is missing"),
        (("duration = 100.0", "duration = 0.0"), "run.duration: expected `float` > 0"),
        (('whole = ["tokens"]', 'whole = ["token"]'), "content.whole names 'token', which is no field of data"),
        (("scv = 2.0", "scv = nan"), "content.data.tokens.scv is nan"),
        (("per_unit = 0.001", "per_unit = 0"), "service.per_unit: expected `float` > 0"),
        (("leave = 0.2", "leave = 0.0"), "channel.bursts.leave must be > 0"),
        (("until = 20.0", "until = 2.0"), r"channel.partitions\[0\] must have since < until"),
        (('"to-system"', '"up"'), r"channel.partitions\[0\].direction: invalid enum value 'up'"),
    ],
)
def test_what_is_wrong_with_drawn_arrivals_is_said(change: tuple[str, str], message: str) -> None:
    text = DRAWN.replace(*change, 1)
    assert text != DRAWN
    with pytest.raises(BadInput, match=message) as caught:
        parse_scenario(text, place="my.toml")
    assert str(caught.value).startswith("my.toml")
    assert "\n" not in str(caught.value)


def few_lines(**changes: object) -> Scenario:
    scenario = Scenario(
        name="mm10",
        arrivals=Poisson(rate=9.0),
        service=ServiceTime(distribution="exponential", mean=1.0),
        run=RunSettings(duration=3600.0),
        configurations=(Configuration(transport="log", policy="fixed", parameters={"replicas": 10}),),
    )
    return msgspec.structs.replace(scenario, **changes)


def test_a_scenario_in_python_stands_what_a_file_has_to_stand() -> None:
    assert check_scenario(few_lines()).warnings() == []
    for changes, message in (
        ({"arrivals": Poisson(rate=float("nan"))}, "arrivals.rate is nan; a number must be finite"),
        ({"arrivals": Poisson(rate=-1.0)}, "arrivals.rate: expected `float` > 0.*, got -1.0"),
        ({"service": ServiceTime(mean=float("inf"))}, "service.mean is inf"),
        ({"run": RunSettings()}, "run.duration is missing"),
    ):
        with pytest.raises(BadInput, match=message):
            check_scenario(few_lines(**changes))


def test_impossible_scenarios_are_flagged_and_accepted() -> None:
    fixed = Configuration(transport="log", policy="fixed", parameters={"replicas": 9})
    at_most_once = Configuration(transport="queue-at-most-once", policy="hpa")
    closed = Closed(users=5, think=Distribution(mean=1.0))
    for changes, message in (
        ({"arrivals": Poisson(rate=1e4)}, "control.replicas_max is 100: the backlog grows for ever"),
        ({"configurations": (fixed,)}, "keeps 9 processors, and arrivals .* the backlog grows for ever"),
        ({"arrivals": closed, "configurations": (at_most_once,)}, "a user whose event a queue loses waits for ever"),
        ({"run": RunSettings(duration=10.0, warmup=20.0)}, "nothing is left to measure"),
        ({"channel": parse_scenario(LEAST + "[channel]\nloss = 1.0").channel}, "no frame will ever arrive"),
    ):
        warnings = check_scenario(few_lines(**changes)).warnings()
        assert any(re.search(message, warning) for warning in warnings), warnings


def test_bad_files_are_one_clear_error(tmp_path) -> None:
    (tmp_path / "empty.toml").write_bytes(b" \n")
    (tmp_path / "utf16.toml").write_bytes(LEAST.encode("utf-16"))
    (tmp_path / "large.toml").write_bytes(b"#" * 1_000_001)
    (tmp_path / "folder.toml").mkdir()
    os.mkfifo(tmp_path / "pipe.toml")
    for name, message in (
        ("none", "does not exist"),
        ("empty", "is empty"),
        ("utf16", "is not UTF-8"),
        ("large", "allowed are 1000000"),
        ("folder", "no regular file"),
        ("pipe", "no regular file"),
    ):
        with pytest.raises(BadInput, match=message):
            load_scenario(tmp_path / f"{name}.toml")


def test_every_truncation_of_a_scenario_is_read_or_refused() -> None:
    text = default_scenario().to_toml()
    messages = []
    for end in range(0, len(text), 7):
        try:
            parse_scenario(text[:end])
        except BadInput as error:
            messages.append(str(error).strip())
    assert messages
    assert not any("\n" in message for message in messages)


def test_a_byte_order_mark_is_no_obstacle_and_a_trace_file_lies_beside_its_scenario(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.replace('name = "nyc-flights"', 'file = "mine.csv"').encode())
    assert load_scenario(path).trace.file == str(tmp_path / "mine.csv")


def test_what_can_hardly_be_meant_is_flagged_and_accepted() -> None:
    scenario = parse_scenario(LEAST.replace("[[conf", "[objective]\nbound = 0.1\n[[conf"))
    (warning,) = scenario.warnings()
    assert "no policy can keep it" in warning
    assert default_scenario().warnings() == []
