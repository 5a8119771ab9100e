"""Show in a terminal what a push would do, and what a person should look at before it."""

import click

from soupstock.dataset.push import Prepared
from soupstock.errors import shown
from soupstock.reports.card.licences import unread
from soupstock.reports.card.splits import vacancies


def show_prepared(prepared: Prepared) -> None:
    """Print where a dataset would go, as what, and what nobody knows of its models' licences."""
    release = prepared.release
    who = "private" if prepared.private else "public"
    version = "the first version" if prepared.unseen else f"version {prepared.version}"
    _say(
        f"{prepared.repository}: {release.dataset.rows:,} rows, {len(prepared.files)} files,"
        f" {prepared.bytes / 1e6:,.1f} MB, {who}, {version}"
    )
    if prepared.opens:
        _say("what is there is private, and becomes public")
    for one in vacancies(release.dataset):
        _say(f"no row{f' of {one.config}' if one.config else ''} is in the split {one.split}")
    for model in unread(release.models):
        known = f"the licence of {model.model} ({model.license})" if model.license else model.model
        _say(f"look before publishing: what {known} allows with its answers is not known")


def show_files(prepared: Prepared) -> None:
    """Print which files would be pushed and removed, and what could not be looked at."""
    for file in prepared.files:
        _say(f"  {file}")
    for file in prepared.deleted:
        _say(f"  {file} (removed)")
    if prepared.unseen:
        _say(
            f"the Hub was not looked at: {prepared.unseen}. Not known: whether"
            f" {prepared.repository} is there and what is in it, its next version and what changed"
            " since the last, and whether you may write to it"
        )
    _say("nothing was pushed: --dry-run")


def _say(line: str) -> None:
    click.echo(shown(line))
