"""What licences and terms of use say of what a model writes, as far as somebody has read them.

The table is terms.yaml: a reviewed file, with a source and a date for each text.
"""

import datetime as dt
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter
from ruamel.yaml import YAML

from soupstock.spec.fields import Record

_TABLE = Path(__file__).parent / "terms.yaml"

Source = Annotated[str, Field(pattern=r"^https://[\x21-\x3b=\x3f-\x7e]+$")]
"""An address that is safe between angle brackets."""


class TermsRecord(Record):
    """What a text says of what a model writes."""

    title: str
    says: str
    source: Source
    """Where the text is."""
    version: str
    """Which version of it was read."""
    seen: dt.date
    """The day on which it was read."""


class _Entry(Record):
    title: str
    texts: Mapping[str, Source] = {}
    services: Mapping[str, Source] = {}
    version: str
    seen: dt.date
    says: str

    def record(self, source: str) -> TermsRecord:
        shared = self.model_dump(include={"title", "says", "version", "seen"})
        return TermsRecord(source=source, **shared)


def terms_of(license: str | None, base_url: str | None = None) -> TermsRecord | None:
    """Find what is known of a licence, or of the service that answers; None where nothing is.

    A licence that is stated comes before what is known of the service.
    """
    if license is not None:
        return _texts().get(re.sub(r"[\s_]+", "-", license.strip().lower()))
    return _services().get(urlsplit(base_url).hostname or "") if base_url else None


@cache
def _table() -> list[_Entry]:
    data = YAML(typ="safe", pure=True).load(_TABLE.read_text(encoding="utf-8"))
    return TypeAdapter(list[_Entry]).validate_python(data)


@cache
def _texts() -> dict[str, TermsRecord]:
    return {name: one.record(url) for one in _table() for name, url in one.texts.items()}


@cache
def _services() -> dict[str, TermsRecord]:
    return {host: one.record(url) for one in _table() for host, url in one.services.items()}
