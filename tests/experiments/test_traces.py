"""Traces from files: the same table gives the same trace, and every bad file one clear error."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rarera_sim.core.errors import BadInput
from rarera_sim.experiments import traces
from rarera_sim.experiments.traces import BadTrace, Trace, read_trace, shipped

SECOND = 10**9


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def refusal(path: Path | str, **options: Any) -> str:
    """The one line that a user sees, without the folder."""
    with pytest.raises(BadTrace) as caught:
        read_trace(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text.replace(f"{Path(path).parent}{os.sep}", "")


def times(trace: Trace) -> list[int]:
    return trace.frame["time"].to_list()


# --- what is read ---------------------------------------------------------------------------------------------------


def test_csv_gives_typed_data_and_leaves_out_empty_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "t.csv",
        "time,source,stream,type,speed,gate,open\n1,JFK,JFK/DL1,departed,370.5,B7,true\n2,ATL,JFK/DL1,arrived,,,\n",
    )
    assert list(read_trace(path).events()) == [
        (SECOND, "JFK", "JFK/DL1", "departed", {"speed": 370.5, "gate": "B7", "open": True}),
        (2 * SECOND, "ATL", "JFK/DL1", "arrived", {}),
    ]


def test_missing_source_stream_and_type_get_constants(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "t.csv", "time,x\n1,5\n"))
    assert list(trace.events()) == [(SECOND, "trace", "trace/0", "event", {"x": 5})]


def test_chosen_columns_take_the_roles(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "sent,who,what,kind,x\n1,7,7/a,on,5\n")
    trace = read_trace(path, time_column="sent", source_column="who", stream_column="what", type_column="kind")
    assert list(trace.events()) == [(SECOND, "7", "7/a", "on", {"x": 5})]


def test_one_column_may_be_source_and_stream(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "t.csv", "time,a\n1,x\n"), source_column="a", stream_column="a")
    assert list(trace.events()) == [(SECOND, "x", "x", "event", {})]


def test_a_trace_of_nothing_but_times_is_read(tmp_path: Path) -> None:
    assert list(read_trace(write(tmp_path, "t.csv", "time\n1\n2\n")).events())[1] == (
        2 * SECOND,
        "trace",
        "trace/0",
        "event",
        {},
    )


def test_rows_out_of_order_are_sorted_and_counted(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "t.csv", "time,x\n3,1\n1,2\n2,3\n3,4\n"))
    assert [data["x"] for *_, data in trace.events()] == [2, 3, 1, 4]
    assert trace.unsorted == 2


def test_rows_of_one_time_keep_their_order(tmp_path: Path) -> None:
    # Many rows: a sort that is not stable keeps short tables in order by chance.
    seconds = [row * 7919 % 5 for row in range(50_000)]
    body = "".join(f"{second},{row}\n" for row, second in enumerate(seconds))
    trace = read_trace(write(tmp_path, "t.csv", "time,x\n" + body))
    assert trace.frame["x"].to_list() == sorted(range(50_000), key=seconds.__getitem__)


@pytest.mark.parametrize("text", ["007", "+49", "NA", "1_000", "0x1F", " 1", "True", "1e", "--1", "NULL", "None"])
def test_text_that_resembles_something_else_stays_text(tmp_path: Path, text: str) -> None:
    trace = read_trace(write(tmp_path, "t.csv", f"time,x\n1,{text}\n2,8\n"))
    assert trace.frame["x"].to_list() == [text, "8"]


def test_one_text_makes_a_column_of_numbers_a_column_of_texts(tmp_path: Path) -> None:
    body = "".join(f"{row},{row}\n" for row in range(20_000)) + "20000,NA\n"
    trace = read_trace(write(tmp_path, "t.csv", "time,x\n" + body))
    assert trace.frame["x"].to_list()[-2:] == ["19999", "NA"]


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "t.csv", "time,i,f\n1,9223372036854775807,-0.0\n2,-9223372036854775808,.1\n"))
    assert trace.frame["i"].to_list() == [2**63 - 1, -(2**63)]
    assert [str(value) for value in trace.frame["f"].to_list()] == ["-0.0", "0.1"]


def test_a_byte_order_mark_windows_lines_and_quoted_line_breaks_are_read(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "t.csv", b'\xef\xbb\xbftime,note\r\n1,"a\r\nb, ""c"""\r\n'))
    assert trace.data(0) == {"note": 'a\r\nb, "c"'}


def test_suffixes_may_be_written_large_and_ndjson_is_jsonl(tmp_path: Path) -> None:
    assert len(read_trace(write(tmp_path, "T.CSV", "time\n1\n"))) == 1
    assert len(read_trace(write(tmp_path, "t.ndjson", '{"time": 1}\n'))) == 1


def test_jsonl_objects_may_differ_in_their_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", '{"time":1,"a":1}\n\n{"b":"x","time":2}\n{"time":3,"a":null}\n')
    assert [data for *_, data in read_trace(path).events()] == [{"a": 1}, {"b": "x"}, {}]


def test_jsonl_values_that_no_column_type_holds_come_back_as_they_were(tmp_path: Path) -> None:
    values = [{"b": [1, 2.5, None], "a": {}}, [1], "text", 5, True]
    lines = "".join(json.dumps({"time": row, "x": value}) + "\n" for row, value in enumerate(values))
    trace = read_trace(write(tmp_path, "t.jsonl", lines))
    assert trace.json_columns == ("x",)
    assert [data["x"] for *_, data in trace.events()] == values
    assert trace.data(0)["x"] == values[0]


def test_jsonl_keeps_unicode_line_separators_inside_of_strings(tmp_path: Path) -> None:
    assert read_trace(write(tmp_path, "t.jsonl", '{"time":1,"x":"a\u2028b\x85c"}\n')).data(0) == {"x": "a\u2028b\x85c"}


def test_parquet_nested_columns_dates_and_dictionaries_become_data(tmp_path: Path) -> None:
    columns = {
        "time": pa.array([1, 2]),
        "lists": pa.array([[1, 2], None]),
        "structs": pa.array([{"a": 1}, {"a": 2}]),
        "words": pa.array(["x", "y"]).dictionary_encode(),
        "days": pa.array([date(2013, 1, 7), None]),
        "moments": pa.array([datetime(2013, 1, 7, 5, 30, 0, 250_000), None]),
        "small": pa.array([1.5, 2.5], pa.float32()),
        "unsigned": pa.array([1, 2], pa.uint64()),
        "nothing": pa.nulls(2),
    }
    trace = read_trace(write_parquet(tmp_path / "t.parquet", columns))
    assert [data for *_, data in trace.events()] == [
        {
            "lists": [1, 2],
            "structs": {"a": 1},
            "words": "x",
            "days": "2013-01-07",
            "moments": "2013-01-07T05:30:00.250",
            "small": 1.5,
            "unsigned": 1,
        },
        {"structs": {"a": 2}, "words": "y", "small": 2.5, "unsigned": 2},
    ]


# --- times ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2013-01-07T05:00:00Z", 1357534800 * SECOND),
        ("2013-01-07 05:00", 1357534800 * SECOND),
        ("2013-01-07T00:00:00-05:00", 1357534800 * SECOND),
        ("2013-01-07T00:00:00.123456789-0500", 1357534800 * SECOND + 123456789),
        ("2013-01-07", 1357516800 * SECOND),
        ("2262-04-11T23:47:16.854775807Z", 2**63 - 1),
        ("0", 0),
        ("-0.0", 0),
        ("1357534800.123456789", 1357534800123456789),
        ("1e3", 1000 * SECOND),
        (".5", SECOND // 2),
        ("0.0000000005", 0),
        ("9223372036.854775807", 2**63 - 1),
    ],
)
def test_a_time_in_csv_is_read_to_the_nanosecond(tmp_path: Path, text: str, nanoseconds: int) -> None:
    assert times(read_trace(write(tmp_path, "t.csv", f"time\n{text}\n"))) == [nanoseconds]


def test_both_readings_of_a_repeated_hour_are_told_apart_by_their_offset(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "time\n2013-11-03T01:30:00-04:00\n2013-11-03T01:30:00-05:00\n")
    first, second = times(read_trace(path))
    assert second - first == 3600 * SECOND


@pytest.mark.parametrize(("unit", "factor"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
def test_the_unit_comes_from_the_option_or_from_the_name(tmp_path: Path, unit: Any, factor: int) -> None:
    assert times(read_trace(write(tmp_path, "a.csv", "time\n7\n"), time_unit=unit)) == [7 * factor]
    assert times(read_trace(write(tmp_path, "b.csv", f"time_{unit}\n7\n"))) == [7 * factor]
    named = write(tmp_path, "c.csv", f"sent_{unit}\n7\n")
    assert times(read_trace(named, time_column=f"sent_{unit}")) == [7 * factor]


def test_the_option_wins_over_the_name(tmp_path: Path) -> None:
    assert times(read_trace(write(tmp_path, "t.csv", "time_ms\n7\n"), time_unit="us")) == [7000]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([datetime(2013, 1, 7, 5)], pa.timestamp("s")),
        pa.array([datetime(2013, 1, 7, 5)], pa.timestamp("ms", "UTC")),
        pa.array(
            [datetime(2013, 1, 7, 0, tzinfo=timezone(timedelta(hours=-5)))], pa.timestamp("us", "America/New_York")
        ),
        pa.array([datetime(2013, 1, 7, 5)], pa.timestamp("ns")),
        pa.array([1357534800]),
        pa.array([1357534800], pa.uint32()),
        pa.array([1357534800.0]),
        pa.array(["2013-01-07T05:00Z"]),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_times_of_every_type_mean_the_same_moment(tmp_path: Path, column: Any) -> None:
    assert times(read_trace(write_parquet(tmp_path / "t.parquet", {"time": column}))) == [1357534800 * SECOND]


def test_a_float_means_its_shortest_decimal(tmp_path: Path) -> None:
    # Its exact value is 1357534800.099999904..., which nobody who wrote 1357534800.1 meant.
    path = write_parquet(tmp_path / "t.parquet", {"time": [1357534800.1]})
    assert times(read_trace(path)) == [1357534800100000000]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an event without a time"),
        ("nan", "not a finite number"),
        ("inf", "not a finite number"),
        ("soon", "'soon' is not a finite number"),
        ("-1", "time -1 s is outside 1970-01-01 .. 2262-04-11"),
        ('"1,5"', "'1,5' is not a finite number with a decimal point"),
        ("9223372037", "outside"),
        ("1e999999999", "outside"),
        ("1" * 5000, "outside"),
        ("1357534800000", "is the unit ms"),
        ("1357534800000000", "is the unit us"),
        ("1357534800000000000", "is the unit ns"),
        ("2013-01-07", "'2013-01-07' is not a finite number"),
    ],
)
def test_a_bad_number_for_a_time_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    told = refusal(write(tmp_path, "t.csv", f"time,x\n1,1\n2,1\n{text},1\n"))
    assert told.startswith("t.csv, line 4 (row 3), column 'time': ")
    assert said in told


@pytest.mark.parametrize(
    "text",
    [
        "2013-02-30",
        "2013-1-7",
        "07.01.2013",
        "2013-01-07T25:00",
        "2013-01-07T05:00:60Z",
        "2013-01-07T05:00:00.1234567891Z",
        "2013-01-07T05:00:00,5Z",
        "2013-01-07T05:00 PST",
        "2013-W02-1",
        "1969-12-31T23:59:59Z",
        "9999-12-31",
        "2262-04-12",
        "NA",
        "12",
    ],
)
def test_a_bad_date_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    told = refusal(write(tmp_path, "t.csv", f'time,x\n2013-01-07,1\n"{text}",1\n'))
    assert told.startswith("t.csv, line 3 (row 2), column 'time': time ")
    assert text[:19] in told


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, float("nan")]),
        pa.array([1.0, float("inf")]),
        pa.array([1.0, -1.0]),
        pa.array([1, None]),
        pa.array([1, -1]),
        pa.array([1, 2**63 - 1]),
        pa.array([datetime(2013, 1, 7), datetime(1969, 12, 31)]),
        pa.array([datetime(2013, 1, 7), datetime(9999, 12, 31)]),
        pa.array([date(2013, 1, 7), date(2262, 4, 12)]),
    ],
    ids=str,
)
def test_a_bad_time_in_parquet_is_refused_with_its_row(tmp_path: Path, column: Any) -> None:
    path = write_parquet(tmp_path / "t.parquet", {"time": column})
    assert refusal(path).startswith("t.parquet, row 2, column 'time': ")


@pytest.mark.parametrize("value", ["true", "[1]", "{}"])
def test_a_time_that_is_no_number_and_no_text_is_refused(tmp_path: Path, value: str) -> None:
    assert "neither" in refusal(write(tmp_path, "t.jsonl", f'{{"time":{value}}}\n'))


def test_a_jsonl_row_without_a_time_is_refused_with_its_line(tmp_path: Path) -> None:
    told = refusal(write(tmp_path, "t.jsonl", '{"time":1}\n\n{"x":1}\n'))
    assert told == "t.jsonl, line 3, column 'time': an event without a time"


def test_a_unit_for_times_that_are_no_numbers_or_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    assert "time_unit is for numbers" in refusal(write(tmp_path, "t.csv", "time\n2013-01-07\n"), time_unit="s")
    assert "one of s, ms, us, ns, got 'min'" in refusal(write(tmp_path, "u.csv", "time\n1\n"), time_unit="min")


# --- files that are refused -----------------------------------------------------------------------------------------


def test_a_missing_file_a_folder_a_pipe_and_a_name_that_cannot_be_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    assert refusal(tmp_path / "none.csv") == "none.csv does not exist"
    assert refusal(tmp_path / "folder.csv") == "folder.csv is a folder; a trace is one file"
    assert "not a regular file" in refusal(tmp_path / "pipe.csv")
    assert "cannot be read" in refusal(tmp_path / "loop.csv")
    assert "is not the name of a file" in refusal(f"{tmp_path}/a\0.csv")
    assert "cannot be read" in refusal(tmp_path / ("n" * 300 + ".csv"))


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    assert refusal(write_text(tmp_path / "t.csv")) == "t.csv may not be read: permission denied"


def write_text(path: Path) -> Path:
    with open(path, "w") as file:
        file.write("time\n1\n")
    return path


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    assert refusal(write(tmp_path, f"t.{suffix}", "")) == f"t.{suffix} is empty"


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_of_blank_lines_is_refused(tmp_path: Path, suffix: str) -> None:
    assert refusal(write(tmp_path, f"t.{suffix}", "\ufeff\n \r\n")) == f"t.{suffix} is empty"


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "t.csv", "time,x\n")) == "t.csv has a header and no rows"
    path = write_parquet(tmp_path / "t.parquet", {"time": pa.array([], pa.int64())})
    assert refusal(path) == "t.parquet has columns and no rows"


@pytest.mark.parametrize("name", ["t.csv.gz", "t.zip", "t.parquet.zst"])
def test_a_compressed_file_is_refused_with_advice(tmp_path: Path, name: str) -> None:
    assert "is compressed; unpack it first" in refusal(write(tmp_path, name, "x"))


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.json"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path: Path, name: str) -> None:
    assert "is not one of .csv, .parquet, .jsonl" in refusal(write(tmp_path, name, "x"))


def test_a_missing_column_is_refused_with_the_nearest_and_all_names(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "Time,sent_at,x\n1,1,1\n")
    assert refusal(path) == (
        "t.csv: which column holds the time? None is called 'time'; did you mean 'Time'? there are: Time, sent_at, x"
    )
    assert refusal(path, time_column="sentat") == (
        "t.csv: no column 'sentat' for the time; did you mean 'sent_at'? there are: Time, sent_at, x"
    )
    assert "no column 'y' for the type" in refusal(path, time_column="Time", type_column="y")
    both = write(tmp_path, "u.csv", "time_s,time_ms\n1,1000\n")
    assert "which column holds the time, 'time_s' or 'time_ms'?" in refusal(both)


def test_repeated_and_nameless_columns_are_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "t.csv", "time,x,x\n1,1,1\n")) == "t.csv: column 'x' stands 2 times"
    assert refusal(write(tmp_path, "u.csv", "time,\n1,1\n")) == "u.csv: column 2 has no name"
    table = pa.table([pa.array([1]), pa.array([1])], names=["time", "time"])
    pq.write_table(table, tmp_path / "t.parquet")
    assert refusal(tmp_path / "t.parquet") == "t.parquet: column 'time' stands 2 times"


def test_a_column_of_ours_beside_another_one_chosen_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "t.csv", "time,sent,type,kind\n1,1,a,b\n")
    assert "column 'type' stands beside 'kind'" in refusal(path, type_column="kind")
    assert "column 'time' stands beside 'sent'" in refusal(path, time_column="sent")
    assert "it cannot be the source as well" in refusal(path, source_column="time")


@pytest.mark.parametrize(("row", "count"), [("1", 1), ("1,2,3", 3), ("1,2,", 3)])
def test_a_ragged_row_is_refused_with_its_line(tmp_path: Path, row: str, count: int) -> None:
    told = refusal(write(tmp_path, "t.csv", f'time,x\n1,"a\nb"\n{row}\n'))
    assert told == f"t.csv, line 4: {count} fields where the header has 2"


def test_csv_with_an_open_quote_or_another_separator_is_refused(tmp_path: Path) -> None:
    assert "t.csv, line 2: not CSV" in refusal(write(tmp_path, "t.csv", 'time,x\n1,"a\n'))
    assert "separated by commas" in refusal(write(tmp_path, "u.csv", "time;x\n1;2\n"))
    assert "separated by commas" in refusal(write(tmp_path, "v.csv", "time\tx\n1\t2\n"))
    assert "not CSV" in refusal(write(tmp_path, "w.csv", "time,x\n1," + "a" * 200_000 + "\n"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_encoding_other_than_utf8_is_refused(tmp_path: Path, suffix: str, encoding: str) -> None:
    text = "time,x\n1,é\n" if suffix == "csv" else '{"time":1,"x":"é"}\n'
    told = refusal(write(tmp_path, f"t.{suffix}", text.encode(encoding)))
    assert "UTF-" in told


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "t.csv", b"time,x\n1,a\n2,\xe9\n")).startswith("t.csv, line 3: byte 0xe9 is not")
    assert refusal(write(tmp_path, "u.csv", b"time,x\n1,a\x00\n")).startswith("u.csv, line 2: a NUL byte")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "[1] is not a JSON object"),
        ("5", "5 is not a JSON object"),
        ("null", "None is not a JSON object"),
        ('{"time":2', "not JSON"),
        ('{"time":2}{"time":3}', "not JSON"),
        ("{'time':2}", "not JSON"),
        ('{"time":2,"x":NaN}', "NaN is not JSON"),
        ('{"time":Infinity}', "Infinity is not JSON"),
        ('{"time":2,"x":-Infinity}', "-Infinity is not JSON"),
        ('{"time":2,"time":3}', "'time' stands twice"),
        ('{"time":2,"x":{"a":1,"a":2}}', "'a' stands twice"),
        ('{"time":2,"x":1e999}', "inf"),
        ('{"time":2,"x":18446744073709551616}', "64"),
        ('{"time":2,"x":"\\ud800"}', "no canonical JSON"),
        ('{"time":2,"x":' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON"),
        ('{"time":2,"x":' + "1" * 5000 + "}", "4300"),
    ],
)
def test_a_bad_jsonl_line_is_refused_with_its_number(tmp_path: Path, line: str, said: str) -> None:
    told = refusal(write(tmp_path, "t.jsonl", '{"time":1}\n\n' + line + "\n"))
    assert told.startswith("t.jsonl, line 3: ")
    assert said in told


def test_objects_without_keys_are_refused(tmp_path: Path) -> None:
    assert refusal(write(tmp_path, "t.jsonl", "{}\n{}\n")) == "t.jsonl has objects without any key"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nan", "'nan' is not a finite number"),
        ("-Infinity", "'-Infinity' is not a finite number"),
        ("1e999", "1e999 is not a finite number"),
        ('"1,5"', "'1,5' is not a finite number with a decimal point"),
    ],
)
def test_a_csv_value_that_is_no_finite_number_among_numbers_is_refused(tmp_path: Path, text: str, said: str) -> None:
    told = refusal(write(tmp_path, "t.csv", f"time,x\n1,1.5\n2,\n3,{text}\n"))
    assert told.startswith("t.csv, line 4 (row 3), column 'x': ")
    assert said in told


@pytest.mark.parametrize("text", [str(2**63), str(-(2**63) - 1), str(2**64), "9" * 400])
def test_an_integer_beyond_64_bits_is_refused(tmp_path: Path, text: str) -> None:
    told = refusal(write(tmp_path, "t.csv", f"time,x\n1,1\n2,{text}\n"))
    assert told.startswith(f"t.csv, line 3 (row 2), column 'x': {text[:40]} does not fit into 64 bits")
    told = refusal(write_parquet(tmp_path / "t.parquet", {"time": [1], "x": pa.array([2**64 - 1], pa.uint64())}))
    assert "column 'x' of type uint64" in told


@pytest.mark.parametrize("text", [str(2**53 + 1), "9" * 30])
def test_an_integer_that_a_fraction_beside_it_would_round_is_refused(tmp_path: Path, text: str) -> None:
    told = refusal(write(tmp_path, "t.csv", f"time,x\n1,1.5\n2,{text}\n"))
    assert told.startswith(f"t.csv, line 3 (row 2), column 'x': {text} is too large to be exact")


def test_jsonl_refuses_integers_that_its_columns_cannot_hold(tmp_path: Path) -> None:
    path = write(tmp_path, "t.jsonl", f'{{"time":1,"x":1.5}}\n{{"time":2,"x":{2**53 + 1}}}\n')
    assert refusal(path).startswith(f"t.jsonl, line 2, column 'x': {2**53 + 1} is too large to be exact")
    path = write(tmp_path, "u.jsonl", f'{{"time":1,"x":{2**63}}}\n')
    assert refusal(path).startswith(f"u.jsonl, line 1, column 'x': {2**63} does not fit into 64 bits")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_parquet_refuses_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    told = refusal(write_parquet(tmp_path / "t.parquet", {"time": [1, 2], "x": [None, value]}))
    assert told == f"t.parquet, row 2, column 'x': {value} is not a finite number; leave out a value that is missing"
    told = refusal(write_parquet(tmp_path / "u.parquet", {"time": [1, 2], "x": [[1.0], [value]]}))
    assert told.startswith("u.parquet, row 2, column 'x' of type list")


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"x"]),
        pa.array([Decimal("1.5")]),
        pa.array([timedelta(seconds=1)]),
        pa.array([[b"x"]]),
        pa.array([[datetime(2013, 1, 7)]]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([datetime(2013, 1, 7).time()]),
    ],
    ids=lambda column: str(column.type),
)
def test_parquet_types_that_json_cannot_say_are_refused(tmp_path: Path, column: Any) -> None:
    assert "column 'x'" in refusal(write_parquet(tmp_path / "t.parquet", {"time": [1], "x": column}))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"time":1,"source":null}', "a name is missing"),
        ('{"time":1,"source":""}', "a name is missing"),
        ('{"time":1,"source":"a\\u0000b"}', "a name holds a NUL character"),
        ('{"time":1,"source":1.5}', "names must be text or whole numbers"),
        ('{"time":1,"source":true}', "names must be text or whole numbers"),
        ('{"time":1,"source":["a"]}', "names must be text or whole numbers"),
    ],
)
def test_a_source_without_a_usable_name_is_refused(tmp_path: Path, line: str, said: str) -> None:
    assert said in refusal(write(tmp_path, "t.jsonl", line + "\n"))


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    offsets, body = pa.py_buffer((0).to_bytes(4, "little") + (2).to_bytes(4, "little")), pa.py_buffer(b"a\xff")
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, body])
    assert "is damaged" in refusal(write_parquet(tmp_path / "t.parquet", {"time": [1], "x": text}))


def test_every_cut_of_a_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "t.parquet", {"time": [1, 2], "x": ["a", "b"]}).read_bytes()
    for length in range(1, len(whole)):
        refusal(write(tmp_path, "cut.parquet", whole[:length]))


def test_a_flipped_bit_in_a_parquet_file_is_refused_or_read_but_nothing_else(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "t.parquet", {"time": [1, 2, 3], "x": ["a", "b", None]}).read_bytes()
    path = tmp_path / "flipped.parquet"
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ (1 << position % 8)]) + whole[position + 1 :])
        # Anything but a trace or a BadTrace, a crash of the interpreter included, fails here.
        with contextlib.suppress(BadTrace):
            assert len(read_trace(path)) >= 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80), suffix=st.sampled_from(["csv", "jsonl", "parquet"]))
@example(content=b"time\n\xc2\xb2\n", suffix="csv")
@example(content="time\n１\n".encode(), suffix="csv")
@example(content=b'time\n"12\n"\n', suffix="csv")
def test_any_bytes_give_a_trace_or_a_refusal(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = write(tmp_path, f"t.{suffix}", content)
    with contextlib.suppress(BadTrace):
        assert len(read_trace(path)) >= 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))
@example(values=["२"])
@example(values=["1", "1.5", "-.5e3", "."])
@example(values=["-0", "1"])
def test_any_csv_text_is_kept_read_as_the_number_it_is_or_refused(tmp_path: Path, values: list[str]) -> None:
    with open(tmp_path / "t.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["time", "x"], *([row, value] for row, value in enumerate(values))])
    try:
        trace = read_trace(tmp_path / "t.csv")
    except BadTrace:
        return
    for value, (*_, data) in zip(values, trace.events(), strict=True):
        if type(data.get("x")) in (int, float):
            assert float(value) == data["x"]
        else:
            assert data.get("x", "") == (value == "true" if type(data.get("x")) is bool else value)


# --- the same table, whatever the file ------------------------------------------------------------------------------

NAMES = st.text("abcXYZ é/-_", min_size=1, max_size=6).map(lambda text: "n" + text)
COLUMNS = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "text": NAMES,
}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    rows = draw(st.integers(1, 6))
    table: dict[str, list[Any]] = {"time": draw(st.lists(st.integers(0, 2**63 - 1), min_size=rows, max_size=rows))}
    for role in draw(st.sets(st.sampled_from(["source", "stream", "type"]))):
        table[role] = draw(st.lists(NAMES, min_size=rows, max_size=rows))
    for kind in draw(st.lists(st.sampled_from(sorted(COLUMNS)), max_size=4)):
        values = st.one_of(st.none(), COLUMNS[kind])
        table[f"{kind}{len(table)}"] = draw(st.lists(values, min_size=rows, max_size=rows))
    return {name: table[name] for name in draw(st.permutations(sorted(table)))}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_csv_jsonl_and_parquet_of_one_table_are_one_trace(tmp_path: Path, table: dict[str, list[Any]]) -> None:
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    for row in rows:
        writer.writerow(str(value).lower() if type(value) is bool else value for value in row.values())
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    typed = {
        name: pa.array(values, next((kind for start, kind in kinds.items() if name.startswith(start)), None))
        for name, values in table.items()
    }
    read = [
        read_trace(write(tmp_path, "t.csv", text.getvalue()), time_unit="ns"),
        read_trace(write(tmp_path, "t.jsonl", lines), time_unit="ns"),
        read_trace(write_parquet(tmp_path / "t.parquet", typed), time_unit="ns"),
    ]
    assert len({trace.digest for trace in read}) == 1
    assert list(read[0].events()) == list(read[1].events()) == list(read[2].events())
    assert len({trace.unsorted for trace in read}) == 1


BASE = "time,source,x,y\n1,a,1,p\n2,b,2,q\n"


@pytest.mark.parametrize(
    "other",
    [
        "time,source,x,y\n1,a,1,p\n2,b,3,q\n",
        "time,source,x,y\n1,a,1,p\n3,b,2,q\n",
        "time,source,x,y\n1,a,1,pq\n2,b,2,\n",
        "time,source,x,y\n1,ab,1,p\n2,a,2,q\n",
        "time,source,x,z\n1,a,1,p\n2,b,2,q\n",
        "time,source,x,y\n1,a,1.0,p\n2,b,2.0,q\n",
        "time,source,x,y\n1,a,1,p\n",
        "time,source,x,y\n1,a,,p\n2,b,2,q\n",
        "time,stream,x,y\n1,a,1,p\n2,b,2,q\n",
    ],
)
def test_another_content_has_another_digest(tmp_path: Path, other: str) -> None:
    first, second = (
        read_trace(write(tmp_path, "t.csv", BASE)).digest,
        read_trace(write(tmp_path, "u.csv", other)).digest,
    )
    assert first != second


def test_rows_of_one_time_in_another_order_have_another_digest(tmp_path: Path) -> None:
    first = read_trace(write(tmp_path, "t.csv", "time,x\n1,1\n1,2\n"))
    second = read_trace(write(tmp_path, "u.csv", "time,x\n1,2\n1,1\n"))
    assert first.digest != second.digest


def test_column_order_empty_columns_and_name_of_the_file_do_not_count(tmp_path: Path) -> None:
    other = read_trace(write(tmp_path, "u.csv", "y,nothing,x,source,time\nq,,2,b,2\np,,1,a,1\n"))
    assert other.digest == read_trace(write(tmp_path, "t.csv", BASE)).digest
    assert (other.name, other.unsorted) == ("u", 1)


# --- what a trace can do --------------------------------------------------------------------------------------------


def test_between_takes_the_start_and_leaves_the_end(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "t.csv", "time_ns\n1\n2\n2\n3\n"))
    assert times(trace.between(2, 3)) == [2, 2]
    assert times(trace.between(None, 2)) == [1]
    assert times(trace.between(2, None)) == [2, 2, 3]
    assert times(trace.between(None, None)) == times(trace)
    assert len(trace.between(4, 9)) == 0
    with pytest.raises(BadTrace, match="start must not be after end"):
        trace.between(3, 2)


def test_a_part_has_the_digest_of_a_file_with_only_that_part(tmp_path: Path) -> None:
    whole = read_trace(write(tmp_path, "t.csv", "time,x,y\n1,1,\n2,2,b\n"))
    part = read_trace(write(tmp_path, "u.csv", "time,x\n1,1\n"))
    assert whole.between(0, 2 * SECOND).digest == part.digest


def test_a_frame_that_is_no_trace_is_refused() -> None:
    good = pl.DataFrame({"time": [1, 2], "source": "a", "stream": "a", "type": "a"})
    for bad, said in (
        (good.drop("type"), "'type'"),
        (good.with_columns(pl.col("time").cast(pl.Int32)), "'time'"),
        (good.with_columns(time=pl.Series([2, 1])), "order"),
        (good.with_columns(source=pl.Series(["a", None])), "'source'"),
        (good.with_columns(x=pl.Series([1, 2], dtype=pl.Int8)), "'x'"),
    ):
        with pytest.raises(BadTrace, match=said):
            Trace("bad", bad, "a test")


def test_bad_traces_are_bad_input() -> None:
    assert issubclass(BadTrace, BadInput)
    assert issubclass(BadTrace, ValueError)


def test_an_unknown_shipped_trace_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadTrace, match="no trace 'nyc-fligths' is shipped; did you mean 'nyc-flights'"):
        shipped("nyc-fligths")


def test_a_damaged_shipped_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _ = traces.SHIPPED["nyc-flights"]
    for name in (file, "checksums.txt"):
        shutil.copy(traces.data_folder() / name, tmp_path / name)
    monkeypatch.setattr(traces, "data_folder", lambda: tmp_path)
    assert len(shipped("nyc-flights")) > 100_000
    content = bytearray((tmp_path / file).read_bytes())
    content[500_000] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(BadTrace, match="is damaged"):
        shipped("nyc-flights")
    with pytest.raises(BadTrace, match="damaged"):
        read_trace(tmp_path / file)
    (tmp_path / "checksums.txt").unlink()
    with pytest.raises(BadTrace, match=r"checksums\.txt does not exist"):
        shipped("nyc-flights")
