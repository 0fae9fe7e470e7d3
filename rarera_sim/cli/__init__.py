"""The command `rarera`: every command is one public call, so that whoever outgrows it finds the same in Python.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a check did not hold, 2 bad input, 130
interrupted. What a command does not need it does not import: `rarera --help` answers before Polars would be loaded.

A new command is a file here and a line in `COMMANDS`; the file imports at its top nothing but click and what says no.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from rarera_sim.cli.lazy import Commands
from rarera_sim.cli.output import BAD_INPUT, DONE, FAILED, INTERRUPTED, shown
from rarera_sim.core.errors import BadInput, RareraError

COMMANDS = Commands(
    {
        "app": "rarera_sim.cli.app:app",
        "bench": "rarera_sim.cli.bench:bench",
        "init": "rarera_sim.cli.init:init",
        "log": "rarera_sim.cli.log:log",
        "report": "rarera_sim.cli.report:report",
        "run": "rarera_sim.cli.run:run",
        "study": "rarera_sim.cli.study:study",
        "sweep": "rarera_sim.cli.sweep:sweep",
        "validate": "rarera_sim.cli.validate:validate",
    }
)


class _Rarera(click.Group):
    """A group whose reader may leave: `rarera log read LOG | head` is no error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still in the buffer would fail again when the interpreter flushes it at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        return result


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and give the exit code; whatever is wrong is one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = cli.main(arguments, prog_name="rarera", standalone_mode=False, obj=arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return DONE
    except click.ClickException as error:
        return _complain(error.format_message(), BAD_INPUT)
    except BadInput as error:
        return _complain(str(error), BAD_INPUT)
    except RareraError as error:
        return _complain(str(error), FAILED)
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    return code if type(code) is int else DONE


def _complain(message: str, code: int) -> int:
    click.echo(f"rarera: {shown(' '.join(message.split()))}", err=True)
    return code


@click.group(
    cls=_Rarera,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  rarera run                                     the main job: real flights, queue against log, all policies
  rarera run --quick --policy hpa --policy predictive
  rarera log verify out/log.sqlite               is the log what it was given?
  rarera log state out/log.sqlite --as-of 2013-01-14T12:00Z
  rarera init mine.toml                          a scenario to begin with
  rarera app                                     the panels, without notebooks
  rarera bench log                               time the log against its peers

Exit codes: 0 done, 1 a check did not hold, 2 bad input, 130 interrupted.
""",
)
@click.version_option(package_name="rarera-sim", prog_name="rarera", message="%(prog)s %(version)s")
def cli() -> None:
    """Event-driven systems that lose nothing and keep their response time: run the comparison, ask the log."""
