"""Show in a terminal what a push would do, and what a person should check before it."""

import click

from soupstock.dataset.push import Prepared
from soupstock.errors import shown
from soupstock.reports.card.licences import models_without_terms
from soupstock.reports.card.splits import empty_splits


def show_prepared(prepared: Prepared) -> None:
    """Print where a dataset would be pushed, and which of its models' licences are unknown."""
    release = prepared.release
    who = "private" if prepared.private else "public"
    version = "the first version" if prepared.unreached else f"version {prepared.version}"
    _say(
        f"{prepared.repository}: {release.dataset.rows:,} rows, {len(prepared.files)} files,"
        f" {prepared.bytes / 1e6:,.1f} MB, {who}, {version}"
    )
    if prepared.becomes_public:
        _say("the dataset on the Hub is private now, and becomes public")
    for one in empty_splits(release.dataset):
        _say(f"the split {one.split}{f' of {one.config}' if one.config else ''} has no row")
    for model in models_without_terms(release.models):
        terms = f"the licence of {model.model} ({model.license})" if model.license else model.model
        _say(f"check before publishing: what {terms} allows with its answers is unknown")


def show_files(prepared: Prepared) -> None:
    """Print which files would be pushed and removed, and why the Hub could not be asked."""
    for file in prepared.files:
        _say(f"  {file}")
    for file in prepared.deleted:
        _say(f"  {file} (removed)")
    if prepared.unreached:
        _say(
            f"the Hub was not asked: {prepared.unreached}. Unknown: whether {prepared.repository}"
            " exists and what is in it, its next version and what changed since the last, and"
            " whether you may write to it"
        )
    _say("nothing was pushed: --dry-run")


def _say(line: str) -> None:
    click.echo(shown(line))
