"""``fanout completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete fanout's commands and options.

    For bash, put `eval "$(fanout completion bash)"` into ~/.bashrc; for zsh
    the same with zsh into ~/.zshrc, after compinit. For fish:
    fanout completion fish > ~/.config/fish/completions/fanout.fish
    """
    root = context.find_root()
    kind = get_completion_class(shell)
    assert kind is not None
    # The program asks itself for the words, by this variable.
    click.echo(kind(root.command, {}, "fanout", "_FANOUT_COMPLETE").source())
