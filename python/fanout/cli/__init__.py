"""The command line.

Exit status: 0 after a shutdown that was asked for, 1 when the server cannot
listen, cannot reach its engine's servers or misses a package, 2 for a bad
option or configuration. What went wrong is one line on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from fanout import __version__
from fanout.cli.bench import bench
from fanout.cli.completion import completion
from fanout.cli.config import config
from fanout.cli.serve import serve
from fanout.cli.token import token

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on ``arguments`` (the process's own by default)."""
    try:
        status = cli.main(arguments, prog_name="fanout", standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"fanout: {error.format_message()}", err=True)
        return error.exit_code
    except click.Abort:
        return 130  # interrupted, as a shell reports it
    return status or 0


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """A real-time server: channels, history and presence for many clients at once."""
    if context.invoked_subcommand is None:
        raise click.UsageError("no command given; try 'fanout serve' or 'fanout --help'")


cli.add_command(bench)
cli.add_command(completion)
cli.add_command(config)
cli.add_command(serve)
cli.add_command(token)


if __name__ == "__main__":
    sys.exit(main())
