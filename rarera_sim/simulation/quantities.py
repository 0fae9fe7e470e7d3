"""The kinds of number a scenario is made of, each with its unit and its allowed range.

A field's type is its documentation: loading, error messages, JSON Schema and widgets all read it from here.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0, description="seconds", extra_json_schema={"unit": "s"})]
PositiveSeconds = Annotated[float, Meta(gt=0, description="seconds", extra_json_schema={"unit": "s"})]
Rate = Annotated[float, Meta(gt=0, description="events per second", extra_json_schema={"unit": "1/s"})]
Share = Annotated[float, Meta(ge=0, le=1, description="share, 0 to 1", extra_json_schema={"unit": "1"})]
Quantile = Annotated[float, Meta(gt=0, lt=1, description="quantile, between 0 and 1", extra_json_schema={"unit": "1"})]
Positive = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1, le=10**9)]
CountOrNone = Annotated[int, Meta(ge=0, le=10**9)]
Money = Annotated[float, Meta(ge=0, description="US dollars", extra_json_schema={"unit": "USD"})]
Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Things that change together, passed whole; read from TOML by field name, unknown fields refused."""
