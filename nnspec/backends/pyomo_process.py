"""The process in which Pyomo solves: started, listened to, stopped."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnspec.backends.interface import BackendProgress
from nnspec.status import Status

PERIOD = 0.1  # seconds between looks at the process
GRACE = 1.0
"""Seconds that a solver gets to come back with its best solution after SIGINT, before it is killed. What it had
reported until then is kept, so little is lost."""

OVERTIME = 5.0
"""Seconds beyond the time limit after which a solver that ignores it is stopped: limits are checked between nodes."""


@dataclass(eq=False)
class Answer:
    """What came back: the worker's own answer where there is one, and what it had reported before."""

    values: dict[str, Any]
    stopped: bool = False  # on request
    overdue: bool = False  # because it ran on beyond the time limit
    x: np.ndarray | None = None  # the last incumbent that was reported
    bound: float | None = None  # the last bound
    nodes: int = 0
    reports: int = field(default=0, repr=False)


def solve(task: Mapping[str, Any], heard: Callable[[BackendProgress], None], stop: threading.Event | None,
          began: float) -> Answer:  # fmt: skip
    """Run a task; `heard` gets every report, and one without content where the solver makes none.

    `stop` and Ctrl-C end it within about GRACE seconds.
    """
    with tempfile.TemporaryDirectory(prefix="nnspec-") as folder:
        task_file, progress, result, output = (Path(folder, n) for n in ("task", "progress", "result", "output"))
        task_file.write_bytes(pickle.dumps(task))
        progress.touch()
        command = [sys.executable, "-m", "nnspec.backends.pyomo_worker", *map(str, (task_file, progress, result))]
        answer = Answer({})
        with output.open("wb") as out, progress.open("rb") as reports:
            # a session of its own: signals reach the solver's own processes too, and Ctrl-C comes through us only
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                      start_new_session=True)  # fmt: skip
            try:
                _wait(worker, reports, answer, heard, stop, task["deadline"], began)
            finally:
                _signal(worker, kill=True)
                worker.wait()
        if result.exists():
            answer.values = pickle.loads(result.read_bytes())
        elif answer.stopped or answer.overdue:
            answer.values = {"status": Status.INTERRUPTED, "bound": None, "version": "", "messages": [], "nodes": 0}
        else:
            said = output.read_text(errors="replace").strip()
            last = said.splitlines()[-1] if said else f"exit status {worker.returncode}"
            answer.values = {"failure": f"the solver's process ended: {last}"}
        return answer


def _wait(worker: subprocess.Popen[bytes], reports: Any, answer: Answer, heard: Callable[[BackendProgress], None],
          stop: threading.Event | None, deadline: float | None, began: float) -> None:  # fmt: skip
    """Until the worker ends, by itself or because it is stopped."""
    asked: float | None = None
    running = True
    while running:
        try:
            running = worker.poll() is None
            if running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(PERIOD)
            news = list(_read(reports))
            if not news and answer.reports == 0 and asked is None and running:
                heard(BackendProgress(time.monotonic() - began, None, None))
            for report in news:
                answer.reports += 1
                answer.x = answer.x if report.x is None else report.x
                answer.bound = answer.bound if report.bound is None else report.bound
                answer.nodes = report.nodes
                heard(report)
            if stop is not None and stop.is_set():
                answer.stopped = True
        except KeyboardInterrupt:
            answer.stopped = True
        answer.overdue = deadline is not None and time.time() > deadline + OVERTIME
        if (answer.stopped or answer.overdue) and asked is None:
            asked = time.monotonic()
            _signal(worker)
        if asked is not None and time.monotonic() - asked > GRACE:
            _signal(worker, kill=True)


def _read(reports: Any) -> Any:
    """Whole reports that have been written since the last look."""
    while True:
        mark = reports.tell()
        head = reports.read(8)
        content = reports.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
        if len(head) < 8 or len(content) < int.from_bytes(head, "little"):
            reports.seek(mark)
            return
        yield pickle.loads(content)


def _signal(worker: subprocess.Popen[bytes], kill: bool = False) -> None:
    """Ask the worker, and every process that it started, to end; or end them."""
    if sys.platform == "win32":
        worker.kill() if kill else worker.terminate()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):  # all have ended already
        os.killpg(worker.pid, signal.SIGKILL if kill else signal.SIGINT)
