"""The command line: its commands by name, and how their errors end.

A command's module is imported when the command is used or listed, and heavy modules when a command
runs, so that help is quick.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from soupstock import __version__
from soupstock.engine.garbage_collection import infrequent_collection
from soupstock.errors import MistakeError, SoupstockError, hint, quoted, shown

COMMANDS = {
    "init": "project:init",
    "list": "project:list_pipelines",
    "tasks": "project:tasks",
    "models": "project:models",
    "plan": "run:plan",
    "preview": "run:preview",
    "run": "run:run",
    "explain": "run:explain",
    "review": "judging:review",
    "calibrate": "judging:calibrate",
    "publish": "datasets:publish",
    "reproduce": "datasets:reproduce",
    "diff": "datasets:diff",
    "mix": "datasets:mix",
    "overlap": "datasets:overlap",
    "prune": "run:prune",
    "cache": "project:cache",
}
"""Where each command is: a module of this package and a name in it. In the order of the help."""

EXAMPLES = """\b
First steps:
  soupstock init my-data && cd my-data    make a project that works at once
  soupstock plan chat                     show what a run would do, without asking a model
  soupstock preview chat                  make three rows and show them here
  soupstock run chat                      make the dataset; run it again to continue
  soupstock explain chat ROW              show one row's history
  soupstock review chat                   send a sample to people, and fetch their answers
\b
Another model, without touching the pipeline:
  soupstock run chat --model writer=openai/gpt-4.1-mini --max-cost 2
"""


class _Group(click.Group):
    """Imports a command on use, and ends every error that a user can fix in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"soupstock.cli.{module}"), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise MistakeError(f"no command is called {quoted(name)}{hint(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _end(" ".join(error.format_message().split()), error.exit_code)
        except SoupstockError as error:
            _end(str(error), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _end("interrupted; every answer so far is kept", 1)
        sys.exit(code or 0)


def _end(sentence: str, code: int) -> NoReturn:
    """End in one line, whatever an error's sentence quotes."""
    click.echo(f"soupstock: {shown(sentence)}", err=True)
    sys.exit(code)


@click.group(
    cls=_Group,
    # Click looks for similar names here; what they stand for is imported by `get_command`.
    commands=[click.Command(name) for name in COMMANDS],
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="soupstock")
@click.option(
    "--project",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The project's folder, or one inside it. Default: the current folder.",
)
@click.pass_context
def main(context: click.Context, folder: Path) -> None:
    """Declare a fine-tuning dataset, and get one that can be trusted.

    A pipeline (pipelines/NAME.yaml) says what to make: models generate rows, a judge scores them,
    filters and dedup prune them, and the rest is written as a Hugging Face dataset into
    runs/NAME/latest/. Every answer is kept in runs/calls.sqlite, so you never pay for a call twice.
    """
    context.with_resource(infrequent_collection())
    context.obj = folder
