"""A report is its own archive: what it was made of stands in the page, and is read back from it to the last bit."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson
import polars as pl
from markupsafe import Markup

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments.compare import Comparison
from rarera_sim.experiments.run import Run, load_run
from rarera_sim.experiments.scenario import parse_scenario
from rarera_sim.reports import Compared

FORMAT = 1
FRAMES = ("measures", "load", "crashes", "quantiles", "differences")
PLACE = "report-data"
REPORT = "report.html"

_PAGE_MAX = 500_000_000
_DATA = re.compile(rf'<script type="application/json" id="{PLACE}">(.*?)</script>', re.DOTALL)
_VALUES = ("seed", "replications", "version", "digest", "command", "trace_origin", "events", "log_path", "interrupted")


def packed(comparison: Compared) -> dict[str, Any]:
    """All of a comparison as JSON can hold it: its frames as Parquet, in base64."""
    return {
        "format": FORMAT,
        "scenario": comparison.scenario.to_toml(),
        **{name: getattr(comparison, name) for name in _VALUES},
        "rows": list(comparison.rows),
        "frames": {name: base64.b64encode(parquet(getattr(comparison, name))).decode() for name in FRAMES},
    }


def parquet(frame: pl.DataFrame) -> bytes:
    """A frame as the bytes of a Parquet file, the same bytes for the same frame."""
    file = io.BytesIO()
    frame.write_parquet(file, compression="zstd", statistics=False)
    return file.getvalue()


def json_script(value: Any) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or begin a comment."""
    # NaN and infinities become null: JSON has none. Letters beyond ASCII stand for themselves: the page is UTF-8.
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def unpacked(about: Mapping[str, Any], place: str) -> Comparison:
    """The comparison that `packed` made this of; `place` is what errors call it."""
    try:
        if about["format"] != FORMAT:
            raise BadInput(f"{place} is a report of format {about['format']!r}; this version reads {FORMAT}")
        frames = {
            name: pl.read_parquet(io.BytesIO(base64.b64decode(about["frames"][name], validate=True))) for name in FRAMES
        }
        values: dict[str, Any] = {name: about[name] for name in _VALUES} | frames
        scenario = parse_scenario(about["scenario"], place=f"the scenario in {place}")
        return Comparison(scenario=scenario, rows=about["rows"], **values)
    except (KeyError, TypeError, binascii.Error, pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{place} is no whole report: {error!r}") from None


def read_report(path: str | Path) -> Comparison:
    """The comparison in a report, or the run in a folder of `Run.save` as a comparison of one.

    Parameters
    ----------
    path
        A report, a folder with a report.html in it, such as `rarera run` makes, or the folder of a saved run.

    Raises
    ------
    BadInput
        There is none, or it is not whole.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "run.json").is_file():
            return alone(load_run(path))
        if not (path / REPORT).is_file():
            raise BadInput(f"{path} holds neither a run (run.json) nor a report ({REPORT})")
        path = path / REPORT
    try:
        if path.stat().st_size > _PAGE_MAX:
            raise BadInput(f"{path} has {path.stat().st_size:,} bytes, a report at most {_PAGE_MAX:,}")
        found = _DATA.search(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"report {str(path)!r} cannot be read: {error}") from None
    if found is None:
        raise BadInput(f"{path} is no report of this program, or one from before reports kept their data")
    try:
        about = msgspec.json.decode(found.group(1))
    except msgspec.DecodeError as error:
        raise BadInput(f"{path} is no whole report: {error}") from None
    if not isinstance(about, dict):
        raise BadInput(f"{path} is no whole report")
    return unpacked(about, str(path))


def alone(run: Run) -> Comparison:
    """A run as a comparison of one configuration in one replication, which has no intervals."""
    label, quantile = run.configuration.label, run.scenario.objective.quantile
    names = {
        "configuration": label,
        "transport": run.configuration.transport,
        "policy": run.configuration.policy,
    }
    ours = pl.lit(label).alias("configuration")
    row: dict[str, Any] = dict(names)
    for name, value in run.measures.items():
        if name != "state_correct":
            row |= {name: value, f"{name}_low": None, f"{name}_high": None}
    share = run.measures["on_time"]
    row["slo_met"] = None if share is None else share >= quantile
    row["state_correct"] = bool(run.measures["state_correct"])
    row["state_wrong"] = int(not run.measures["state_correct"])
    ends = {"response_s_low": None, "response_s_high": None}
    levels = [
        {"configuration": label, "quantile": level, "response_s": value, **ends}
        for level, value in run.response_quantiles.items()
    ]
    kinds = dict.fromkeys(("response_s", *ends), pl.Float64)
    measured = {**names, "replication": 0, "seed": run.seed, "digest": run.digest, **run.measures}
    scenario = msgspec.structs.replace(run.scenario, configurations=(run.configuration,))
    trace = run.scenario.trace
    return Comparison(
        scenario=scenario,
        seed=run.seed,
        replications=1,
        version=run.version,
        digest=run.digest,
        rows=[row],
        measures=pl.DataFrame([measured], infer_schema_length=None),
        load=run.load.select(ours, pl.all()),
        crashes=run.crashes.select(ours, pl.all()),
        quantiles=pl.DataFrame(levels, schema_overrides=kinds),
        differences=pl.DataFrame(schema=_DIFFERENCES),
        trace_origin="arrivals that are drawn, as the scenario says"
        if run.scenario.arrivals is not None
        else f"trace {trace.name or trace.file or trace.url}",
        events=run.measures["sent"],
        command=f"rarera run --scenario {scenario.name}.toml --seed {run.seed} --replications 1",
    )


_DIFFERENCES = {
    **dict.fromkeys(("configuration", "against", "measure"), pl.String),
    **dict.fromkeys(("difference", "low", "high", "low_all", "high_all"), pl.Float64),
}
