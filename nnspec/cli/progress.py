"""Progress of a solve: a live line on a terminal (stderr), JSON objects for --json-stream, nothing in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from nnspec.cli import options
from nnspec.tolerances import gap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nnspec.engines.interface import Progress

INTERVAL = 0.5  # seconds between two lines of --json-stream that report no new incumbent


class Live:
    """A line with time, incumbent, bound, gap and nodes that is redrawn four times a second, also between reports."""

    def __init__(self, console: Console):
        from rich.live import Live as RichLive

        self.latest: Progress | None = None
        self.began = time.monotonic()
        # transient: the line goes when the result comes
        self.live = RichLive(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Live:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def report(self, progress: Progress) -> None:
        self.latest = progress

    def say(self, line: str) -> None:
        """A message above the live line."""
        self.live.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 3))
        p = self.latest
        incumbent, bound = (None, None) if p is None else (p.incumbent, p.bound)
        cells = [
            f"[bold]{seconds(time.monotonic() - self.began)}[/]",
            f"best [bold]{short(incumbent)}[/]",
            f"bound {short(bound)}",
            f"gap {percent(gap(incumbent, bound))}",
            f"{0 if p is None else p.nodes:,} nodes",
        ]
        table.add_row(*cells)
        return table


class Quiet:
    """No progress; messages go to stderr."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def report(self, progress: Progress) -> None:
        pass

    def say(self, line: str) -> None:
        click.echo(line, err=True)


class Stream(Quiet):
    """JSON objects on stdout: {"event": "progress" | "incumbent", ...}."""

    def __init__(self) -> None:
        self.last = -INTERVAL
        self.best: float | None = None
        self.lock = threading.Lock()  # engines may report from several threads

    def report(self, progress: Progress) -> None:
        with self.lock:
            new = progress.incumbent is not None and progress.incumbent != self.best
            if not new and progress.seconds - self.last < INTERVAL:
                return
            self.last, self.best = progress.seconds, progress.incumbent
            options.echo_json({"event": "incumbent" if new else "progress", **_plain(progress)})
            sys.stdout.flush()


def _plain(p: Progress) -> dict[str, Any]:
    from nnspec.solution.record import number

    return {"seconds": round(p.seconds, 3), "objective": number(p.incumbent), "bound": number(p.bound),
            "gap": number(gap(p.incumbent, p.bound)), "nodes": p.nodes}  # fmt: skip


def short(value: float | None) -> str:
    """A number in at most seven significant digits; a dash if there is none."""
    if value is None or abs(value) == float("inf"):
        return "-"
    return f"{value:.7g}"


def percent(value: float | None) -> str:
    if value is None:
        return "-"
    if value == 0:
        return "0 %"
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %" if value < 100 else "> 10000 %"


def seconds(value: float) -> str:
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
