"""Commands about finished datasets: publish, reproduce, diff, mix, overlap."""

import sys
from typing import TYPE_CHECKING, Any

import click

from soupstock.cli.options import pair_of, project_of, share_of
from soupstock.errors import MistakeError, shown

if TYPE_CHECKING:
    from soupstock.dataset.push import Choices
    from soupstock.dataset.release import Release
    from soupstock.dataset.versions import Version
    from soupstock.project.project import Project
    from soupstock.similarity.cosine import Embedder


@click.command()
@click.argument("name")
@click.option(
    "--to",
    "repository",
    metavar="ID",
    help="Its id on the Hub: my-org/chat. Default: the id that the pipeline says.",
)
@click.option("--public", is_flag=True, help="Make it public. Default: private.")
@click.option("--force", is_flag=True, help="Replace files that soupstock did not make.")
@click.option("--tag", help="The name of this version. Default: v1, v2 and so on.")
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(["secrets", "emails", "ibans", "cards", "phones", "ips"]),
    help="A kind of personal data that it may contain.",
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Check it and show what would be pushed.")
@click.option("--yes", is_flag=True, help="Do not ask before pushing.")
@click.pass_context
def publish(
    context: click.Context, /, name: str, *, is_dry: bool, yes: bool, **choices: Any
) -> None:
    """Push a dataset to the Hugging Face Hub.

    NAME is a pipeline (its last run), a run (chat/3f2a) or a mix. A dataset that fails a check
    (schema, leaks, secrets, personal data, a judge that failed its sanity check, changed files) is
    not pushed. The token is HF_TOKEN, or that of `hf auth login`.
    """
    from soupstock.dataset.push import Choices, require_publishable
    from soupstock.dataset.release import read_release

    project, chosen = project_of(context), Choices(**choices)
    release = read_release(project, name)
    require_publishable(release, project, chosen)
    if is_dry:
        _show_push(release, chosen)
    else:
        _push(release, chosen, is_confirmed=yes)


def _show_push(release: "Release", chosen: "Choices") -> None:
    """Show what would be pushed."""
    from soupstock.cli.display.push import show_files, show_prepared
    from soupstock.dataset.push import dry_run

    prepared = dry_run(release, chosen)
    show_prepared(prepared)
    show_files(prepared)


def _push(release: "Release", chosen: "Choices", *, is_confirmed: bool) -> None:
    """Show what will be pushed, ask if there is a person to ask, and push it."""
    from soupstock.cli.display.push import show_prepared
    from soupstock.dataset.hub import connect
    from soupstock.dataset.push import prepare, push

    api = connect()
    prepared = prepare(release, chosen, api)
    show_prepared(prepared)
    if not is_confirmed and sys.stdin.isatty() and not click.confirm("Push it?"):
        return
    done = push(prepared, api, lambda line: click.echo(shown(line), err=True))
    what = "pushed" if done.is_new else "already on the Hub"
    click.echo(shown(f"{what}: {done.url} ({done.version}, commit {done.commit[:12]})"))


@click.command()
@click.argument("name")
@click.pass_context
def reproduce(context: click.Context, /, name: str) -> None:
    """Make a dataset again from the cache, and compare.

    NAME is a pipeline (its last run), a run (chat/3f2a) or a mix, which is made again from the runs
    that it was mixed from. No model is asked. Names every file, row and answer that is missing or
    was changed since.
    """
    from soupstock.dataset import reproduce as reproducing

    done = reproducing.reproduce(project_of(context), name)
    for line in (*done.problems, *done.notes):
        click.echo(shown(line))
    if done.problems:
        sys.exit(1)
    again = f"{done.files:,} files are the same, byte for byte"
    compared = again if done.files else "the files are those that the run wrote"
    click.echo(shown(f"{done.folder}: {done.rows:,} rows; {compared}"))


@click.command()
@click.argument("one")
@click.argument("other")
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def diff(context: click.Context, /, one: str, other: str, *, is_json: bool) -> None:
    """Compare two versions of a dataset.

    Shows the rows that were added, removed and changed, and the distributions that moved. ONE and
    OTHER are pipelines (their last runs), runs (chat/3f2a), folders of datasets, or versions on the
    Hub (hub:my-org/chat@v1).
    """
    from soupstock.dataset.diff import compare

    project = project_of(context)
    found = compare(_version(project, one), _version(project, other))
    if is_json:
        click.echo(found.model_dump_json(indent=2))
        return
    from soupstock.cli.display.difference import show_difference

    show_difference(found)


def _version(project: "Project", name: str) -> "Version":
    from soupstock.dataset.hub import PREFIX, read_hub_version
    from soupstock.dataset.versions import read_version

    return read_hub_version(name) if name.startswith(PREFIX) else read_version(project, name)


@click.command()
@click.argument("parts", nargs=-1, required=True, metavar="NAME:SHARE...")
@click.option(
    "-n",
    "--rows",
    type=click.IntRange(min=1),
    help="How many rows to take. Default: as many as the shares allow.",
)
@click.option("-o", "--output", "name", required=True, help="The name of the mix.")
@click.option(
    "--to",
    "repository",
    metavar="ID",
    help="Its id on the Hub: my-org/mix. Default: its name.",
)
@click.option(
    "--split", "splits", multiple=True, metavar="NAME=SHARE", help="A split beside train: test=0.1."
)
@click.option("--seed", type=int, default=0, help="Chooses the rows. Default: 0.")
@click.pass_context
def mix(context: click.Context, /, parts: tuple[str, ...], **choices: Any) -> None:
    """Mix the datasets of several runs.

    For example: soupstock mix chat:0.7 reasoning:0.3 -n 50000 -o soup. Rows that repeat across runs
    are dropped, and rows that resemble an evaluation set that any of the runs was compared with.
    The mix is written into runs/NAME/latest, with a card that says where its rows are from.
    """
    from soupstock.artifacts.mix import Mixture
    from soupstock.cli.display.overlap import show_mixed
    from soupstock.dataset import mix as mixing

    shares = dict(map(_part, parts))
    if len(shares) < len(parts):
        raise MistakeError("name each run only once")
    mixture = Mixture(shares, **choices | {"splits": _splits(choices["splits"])})
    show_mixed(mixing.mix(mixture, project_of(context)))


def _part(part: str) -> tuple[str, float]:
    """Split `chat:0.7` into name and share."""
    name, colon, share = part.rpartition(":")
    if not (name and colon):
        raise MistakeError(f"{shown(part)} is not NAME:SHARE, such as chat:0.7")
    return name, share_of(share, name)


def _splits(choices: tuple[str, ...]) -> dict[str, float]:
    named = dict(pair_of(choice, "--split", "NAME=SHARE") for choice in choices)
    splits = {name: share_of(share, f"--split {name}", below=1) for name, share in named.items()}
    if sum(splits.values()) >= 1 or "train" in splits:
        raise MistakeError(
            "the splits beside train must leave it some rows, and none of them is called `train`"
        )
    return splits


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="A B...")
@click.option("--anchor", metavar="NAME", help="A dataset whose rows all the others should share.")
@click.option(
    "--embedder",
    metavar="MODEL",
    help="A static embedding model to compare meanings. Default: that of [tool.soupstock].",
)
@click.option(
    "--most",
    type=click.FloatRange(0, 1),
    default=0.01,
    help="The largest share of a dataset's rows that may be in another one. Default: 0.01.",
)
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
@click.pass_context
def overlap(context: click.Context, /, names: tuple[str, ...], **options: Any) -> None:
    """Show what datasets share, before their fine-tunes are merged.

    A, B and so on are pipelines (their last runs) or mixes, runs (chat/3f2a), folders of datasets,
    or datasets on the Hub (hub:my-org/chat@v1). If three or more datasets are compared, the rows
    that all of them have are their anchor, and do not count as overlap.
    """
    from soupstock.cli.display.overlap import show_overlap
    from soupstock.dataset.corpus import read_corpus
    from soupstock.dataset.overlap import overlap as compared

    project, anchor = project_of(context), options["anchor"]
    embedder, unmeasured = _embedder(project, options["embedder"])
    found = compared(
        [read_corpus(project, name) for name in names],
        anchor=read_corpus(project, anchor) if anchor else None,
        embedder=embedder,
        most=options["most"],
    ).model_copy(update={"unmeasured": unmeasured})
    if options["is_json"]:
        click.echo(found.model_dump_json(indent=2))
    else:
        show_overlap(found)
    if options["strict"] and found.warnings:
        sys.exit(1)


def _embedder(project: "Project", name: str | None) -> "tuple[Embedder | None, str | None]":
    """Load the embedding model that is named, here or in the settings; or say what is missing."""
    from soupstock.inference.static_embeddings import find_embedder

    asked = name or project.embedder()
    if asked is None:
        return None, "name an embedding model by --embedder, or in [tool.soupstock]"
    try:
        return find_embedder(asked, project.root, None).load(), None
    except MistakeError as error:
        if name:
            raise
        return None, error.message
