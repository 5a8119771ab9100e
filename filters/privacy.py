"""Personal data and secrets."""

from typing import Literal

import polars as pl

Kind = Literal["emails", "phones", "ibans", "cards", "ips"]
_KINDS: list[Kind] = ["emails", "phones", "ibans", "cards", "ips"]


def no_personal_data(column: str, kinds: list[Kind] = _KINDS) -> pl.Expr:
    """Keep rows whose `column` has no personal data of these `kinds`.

    They are e-mail addresses, telephone numbers, bank accounts (IBANs with a valid checksum),
    payment cards (with a valid Luhn checksum) and IP addresses. Addresses reserved for examples or
    private use (`anna@example.org`, 192.168.0.1) are kept.
    """
    if not kinds:
        raise ValueError(f"give at least one kind of {_KINDS}")
    return pl.all_horizontal(pl.col(f"{column}::{kind}") == 0 for kind in kinds)


def no_secrets(column: str) -> pl.Expr:
    """Keep rows whose `column` has no key, token or password.

    Keys and tokens are detected by the prefixes of services (`hf_…`, `sk-…`, `ghp_…`, `AKIA…` and
    some twenty more), private keys by their first line, and passwords by their place in a URL.
    """
    return pl.col(f"{column}::secrets") == 0
