"""What licences and terms of use say about a model's output.

terms.yaml has those that were read, each with its source and date.
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
    """What one text says about a model's output."""

    title: str
    says: str
    source: Source
    """The address of the text."""
    version: str
    """The version that was read."""
    seen: dt.date
    """The day when it was read."""


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
    """Return what is known of a licence, or else of the service at an address; or None."""
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
