"""The command line: `nnspec COMMAND`. One file a command, imported only when it is called.

Results go to stdout, messages and progress to stderr. Exit status: 0 proven (or simply done), 1 error in the spec or
its data, 2 wrong usage, 3 proven infeasible, 4 stopped with a solution, 5 stopped without one, 70 internal error.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

import nnspec
from nnspec.engines.compiled import Mode
from nnspec.errors import NnspecError, UsageError

COMMANDS = {
    "check": "Check a spec and its data; report everything that is wrong.",
    "fmt": "Format specs.",
    "info": "Show what a spec asks for, and how large its model is.",
    "compile": "Write the mathematical program of a spec to a file.",
    "solve": "Solve a spec to proven optimality and write the networks.",
    "export": "Write a trained network in another format or precision.",
    "embed": "Write a trained network as an optimisation model.",
    "backends": "List the solvers that can be used here.",
    "verify": "Check the evidence of a solve again, independently.",
}

EXIT_SPEC, EXIT_USAGE, EXIT_INFEASIBLE, EXIT_STOPPED, EXIT_NOTHING, EXIT_INTERNAL = 1, 2, 3, 4, 5, 70


class Commands(click.Group):
    """Finds a command in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"nnspec.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close:
                ctx.fail(f"no such command {args[0]!r}; did you mean {close[0]}?")
            if args[0].endswith(".nns"):
                ctx.fail(f"no such command {args[0]!r}; did you mean nnspec solve {args[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # from the table, so that --help imports no command
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(nnspec.__version__, prog_name="nnspec")
def commands() -> None:
    """Train small neural networks to proven global optimality, from a declarative spec (.nns)."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line in a process of its own and exit."""
    Mode.alone = True
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status. No traceback reaches the user."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = commands.main(args=given, prog_name="nnspec", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except NnspecError as error:
        show(error)
        if {"--json", "--json-stream"} & set(given):
            _show_json(error)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_SPEC
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # the reader is gone: close quietly, and keep the interpreter from flushing into the closed pipe at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if os.environ.get("NNSPEC_DEBUG"):
            raise
        click.echo(
            f"internal error: {type(error).__name__}: {error}\n"
            "This is a defect of nnspec. Please report it with the spec and the output of the same command under "
            "NNSPEC_DEBUG=1.",
            err=True,
        )
        return EXIT_INTERNAL


def _show_json(error: NnspecError) -> None:
    """The same as one JSON object on stdout, for programs that asked for one."""
    from nnspec.cli.check import plain
    from nnspec.cli.options import echo_json

    echo_json({"status": "error", "diagnostics": [plain(d) for d in error.diagnostics]})


def show(error: NnspecError) -> None:
    """Diagnostics on stderr, in colour on a terminal."""
    from nnspec.language.render import render, wants_color

    click.echo(render(error.diagnostics, wants_color(sys.stderr)), err=True, color=True)
