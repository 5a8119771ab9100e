"""What names a person is counted wherever in a dataset's rows it stands."""

from pathlib import Path

import polars as pl

from soupstock.rows.pii_scan import count_identifiers, count_in_files

ADDRESS = "Write to jane.roe@acme-tools.org or to john@acme-tools.org."
CARD = "4111 1111 1111 1111"


def test_texts_in_lists_and_fields_are_looked_through(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "text": [ADDRESS, None, "nothing"],
            "messages": [
                [{"role": "user", "content": CARD}, {"role": "assistant", "content": None}],
                None,
                [{"role": "user", "content": ADDRESS}],
            ],
            "deep": [{"list": [["x", CARD]], "n": 1}, {"list": None, "n": 2}, None],
            "number": [1, 2, 3],
            "list": [["a"], [], None],
        }
    )
    for name in ("one", "other"):
        rows.write_parquet(tmp_path / name)
    expected = {"secrets": 0, "emails": 4, "ibans": 0, "cards": 2, "phones": 0, "ips": 0}
    assert count_identifiers(tmp_path / "one") == expected
    assert count_identifiers(tmp_path / "one", ["emails"]) == {"emails": 4}
    both = count_in_files(tmp_path, ["one", "other"])
    assert both == {kind: 2 * count for kind, count in expected.items()}
