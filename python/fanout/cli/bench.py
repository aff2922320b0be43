"""``fanout bench``."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fanout.bench.plan import Plan, Target
    from fanout.bench.summary import Summary

__all__ = ["bench"]

_SPARE_FILES = 64       # what the process has open beside its connections
_LARGEST = 1_000_000
_FORMATS = ("json", "protobuf")


def _secret(context: click.Context, option: click.Parameter, path: Path | None) -> str:
    """What stands in a file, without the newline at its end."""
    if path is None:
        return ""
    try:
        secret = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise click.BadParameter(f"{path} cannot be read: {reason}") from None
    if not secret:
        raise click.BadParameter(f"{path} is empty")
    return secret


def _target(context: click.Context, argument: click.Parameter, url: str) -> Target:
    # Not at the top: --version and --help need none of it.
    from fanout.bench.plan import parse_target

    try:
        return parse_target(url)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_COUNT = click.IntRange(1, _LARGEST)
_SECONDS = click.FloatRange(0, 86400, min_open=True)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument(
    "target", metavar="[URL]", default="http://127.0.0.1:8000", callback=_target)
@click.option(
    "-c", "--connections", type=_COUNT, default=100, show_default=True,
    help="Connections that subscribe.")
@click.option("--channels", type=_COUNT, default=1, show_default=True, help="Channels.")
@click.option(
    "-s", "--subscribers", type=_COUNT,
    help="Subscribers of each channel.  [default: one channel for each connection]")
@click.option(
    "--channel-prefix", default="bench-", show_default=True,
    help="Channels are this and a number; for a namespace, 'name:'.")
@click.option(
    "-p", "--publishers", type=click.IntRange(1, 10_000), default=1, show_default=True,
    help="Connections that publish.")
@click.option(
    "-r", "--rate", type=click.FloatRange(0, 10_000_000), default=100, show_default=True,
    help="Messages per second, of all publishers together; 0 only holds the connections.")
@click.option(
    "--size", type=click.IntRange(1, 10_000_000), default=128, show_default=True,
    help="Bytes of a message's data; it needs at least about 100.")
@click.option(
    "-d", "--duration", type=_SECONDS, default=10, show_default=True,
    help="Seconds of publishing.")
@click.option(
    "--format", "format", type=click.Choice(_FORMATS), default="json", show_default=True)
@click.option(
    "--connect-rate", type=click.FloatRange(0, 1_000_000, min_open=True), default=1000,
    show_default=True, help="Connections opened per second.")
@click.option(
    "--connect-concurrency", type=click.IntRange(1, 10_000), default=100, show_default=True,
    help="Connections being opened at the same time.")
@click.option(
    "--in-flight", type=_COUNT, default=256, show_default=True,
    help="Publications of one publisher that may wait for their answers.")
@click.option(
    "--timeout", type=_SECONDS, default=10, show_default=True,
    help="Seconds for a connection, its subscriptions included, and for a call of the API.")
@click.option(
    "--settle", type=_SECONDS, default=5, show_default=True,
    help="Seconds without a delivery after which what is missing counts as lost.")
@click.option(
    "--origin", default="", metavar="ORIGIN",
    help="Connect as pages of this origin do, https://example.com.  [default: as programs do]")
@click.option(
    "--token", envvar="BENCH_TOKEN", default="",
    help="The connection token of every client. Others on this machine can read command "
    "lines: better set BENCH_TOKEN.")
@click.option(
    "--token-secret-file", "token_secret", type=_FILE, callback=_secret,
    help="File with the HMAC secret of connection tokens: each client gets its own.")
@click.option(
    "--api-key-file", "api_key", type=_FILE, callback=_secret,
    help="File with the key of the HTTP API: publish by that instead of by clients.")
@click.option("--api-url", help="Where the HTTP API is.  [default: /api at URL's host]")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option(
    "--remote", is_flag=True,
    help="The server is not on this machine, and you may put load on it.")
def bench(
    target: Target,
    subscribers: int | None,
    api_key: str,
    api_url: str | None,
    as_json: bool,
    quiet: bool,
    remote: bool,
    **options: object,
) -> int:
    """Put load on a running server, and tell what came of it.

    Clients connect to the server at URL (http, https, ws or wss; by default
    http://127.0.0.1:8000) and subscribe; others publish. Each message carries
    a number and the time. The summary has connect times, latencies, rates, and
    what was lost or came twice. Progress goes to standard error. Ctrl-C ends
    the run, and gives the summary so far.

    The exit status is 1 when a message was lost, refused or duplicated, or a
    connection failed or was lost.
    """
    from fanout.bench.plan import Plan, parse_target

    if api_url and not api_key:
        raise click.UsageError("--api-url needs --api-key-file")
    if options["token"] and options["token_secret"]:
        raise click.UsageError("--token and --token-secret-file exclude each other")
    try:
        at = [target, parse_target(api_url)] if api_url else [target]
        plan = Plan(
            target=target, subscribers=subscribers or 0, api_key=api_key,
            api_url=(api_url or target.api) if api_key else "",
            **options)  # type: ignore[arg-type]  # click made them what the plan says
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for place in at:
        if not (remote or place.is_this_machine):
            raise click.UsageError(
                f"{place.host} is not this machine, and the load may bring it down; with "
                "--remote you say that you may do that")
    _take_files(plan)
    summary = _run(plan, quiet)
    click.echo(json.dumps(summary.to_json(), indent=2) if as_json else str(summary))
    return 0 if summary.whole else 1


def _take_files(plan: Plan) -> None:
    """Every connection is a file: have enough of them, or say what limits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    needed = plan.connections + plan.publishers + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and needed > soft:
        raise click.ClickException(
            f"{plan.connections + plan.publishers} connections need {needed} open files, and "
            f"this process may have {soft}: raise `ulimit -n`")


def _run(plan: Plan, quiet: bool) -> Summary:
    import uvloop

    summary: Summary = uvloop.run(_bench(plan, quiet))
    return summary


async def _bench(plan: Plan, quiet: bool) -> Summary:
    from fanout.bench.progress import Progress
    from fanout.bench.run import Run

    run = Run(plan)
    loop = asyncio.get_running_loop()
    progress = None if quiet else Progress(run, sys.stderr)
    showing = None if progress is None else asyncio.create_task(progress.show())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _stopper(run.stop, number))
    try:
        return await run.run()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if showing is not None and progress is not None:
            showing.cancel()
            progress.erase()


def _stopper(stop: Callable[[], None], number: signal.Signals) -> Callable[[], None]:
    """Ends the run at the first signal; the next one ends the process."""

    def stopped() -> None:
        stop()
        asyncio.get_running_loop().remove_signal_handler(number)

    return stopped
