"""What names a person or opens a door."""

from typing import Literal

import polars as pl

Kind = Literal["emails", "phones", "ibans", "cards", "ips"]
_KINDS: list[Kind] = ["emails", "phones", "ibans", "cards", "ips"]


def no_personal_data(column: str, kinds: list[Kind] = _KINDS) -> pl.Expr:
    """Keep rows whose `column` has no personal data of these `kinds`.

    They are e-mail addresses, telephone numbers, bank accounts (IBANs, right modulo 97), payment
    cards (right by Luhn's sum) and IP addresses. What is reserved for examples or private use
    (`anna@example.org`, 192.168.0.1) is nobody's, and kept.
    """
    if not kinds:
        raise ValueError(f"it needs kinds: {_KINDS}")
    return pl.all_horizontal(pl.col(f"{column}::{kind}") == 0 for kind in kinds)


def no_secrets(column: str) -> pl.Expr:
    """Keep rows whose `column` has no key, token or password.

    They are told by the shapes that services give them (`hf_…`, `sk-…`, `ghp_…`, `AKIA…` and a
    score more), private keys by their first line, and passwords within a URL.
    """
    return pl.col(f"{column}::secrets") == 0
