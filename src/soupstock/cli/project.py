"""Commands about a project and what is in it: init, list, tasks, models, cache."""

import sys
from pathlib import Path

import click

from soupstock.cli.options import project_of, roles_of
from soupstock.errors import MistakeError, shown


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make a new project in FOLDER. It works at once, with the standard pipelines in it too."""
    from soupstock.project.scaffold import create

    for line in create(folder):
        click.echo(line)


@click.command(name="list")
@click.option("--names", is_flag=True, help="Print only the names, one on each line.")
@click.pass_context
def list_pipelines(context: click.Context, /, *, names: bool) -> None:
    """List the pipelines, yours and the standard ones."""
    project = project_of(context)
    if names:
        for name in sorted(project.pipeline_names()):
            click.echo(shown(name))
        return
    from soupstock.cli.display.listing import show_pipelines

    show_pipelines(project)


@click.command()
def tasks() -> None:
    """List the distilabel tasks that a `task` step can carry out.

    Each with its inputs, outputs and paper.
    """
    from soupstock.cli.display.listing import show_tasks
    from soupstock.steps.distilabel.catalogue import entries

    show_tasks(entries())


@click.command()
@click.argument("name", required=False)
@click.option("--model", "roles", multiple=True, metavar="ROLE=MODEL", help="As for `run`.")
@click.option("--no-probe", is_flag=True, help="Ask the models nothing. Probes cost a few tokens.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a model cannot be used.")
@click.pass_context
def models(
    context: click.Context,
    /,
    name: str | None,
    roles: tuple[str, ...],
    *,
    no_probe: bool,
    strict: bool,
) -> None:
    """Show which models can be used, and what is missing.

    With NAME the models of that pipeline, by role; without it the embedded one and those of
    [tool.soupstock.models]. Shows what each can do and costs. Asks each server seven or more small
    questions (a few hundred tokens), unless --no-probe is given. Starts no server.
    """
    from soupstock.cli.display.models import show_models
    from soupstock.runs.survey import survey

    if roles and name is None:
        raise MistakeError("--model needs the NAME of the pipeline that has the role")
    findings = survey(project_of(context), name, roles_of(roles), is_probed=not no_probe)
    show_models(findings, is_probed=not no_probe)
    if strict and any(finding.missing for finding in findings):
        sys.exit(1)


@click.command()
@click.option("--prune", "is_pruned", is_flag=True, help="Remove the unused answers.")
@click.option("--yes", is_flag=True, help="Do not ask before removing.")
@click.pass_context
def cache(context: click.Context, /, *, is_pruned: bool, yes: bool) -> None:
    """Show how many answers the cache holds, and remove unused ones.

    An answer is used if a pipeline, as it is now or as it was in an earlier run, would look it up.
    """
    from soupstock.cli.display.listing import show_cache
    from soupstock.runs.cache import contents, remove_answers, unreadable_runs, unused

    project = project_of(context)
    show_cache(contents(project))
    if not is_pruned:
        return
    unwanted = unused(project)
    click.echo(f"{len(unwanted):,} cached answers are unused by any pipeline or past run")
    if unreadable := unreadable_runs(project):
        runs = "1 past run" if unreadable == 1 else f"{unreadable:,} past runs"
        click.echo(f"{runs} cannot be read by this version: their answers count as unused")
    if unwanted and (yes or click.confirm("Remove them?")):
        remove_answers(project, unwanted)
        click.echo("removed")
