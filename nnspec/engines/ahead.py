"""Compiling engines before they are needed, in several processes at once.

numba compiles with one processor only. So a first solve lets processes compile a share of the functions each; they
leave the code on disk, where this process then finds it. A process that cannot be started costs nothing but time: what
is missing is compiled where it is called.

    python -m nnspec.engines.ahead ENGINE PART      compiles one part in this process
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator

Part = tuple[str, str]
"""An engine and the name of one of its parts."""


def processors() -> int:
    """How many processors this process may use; not all systems say it, then all that there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parts(engine: str) -> tuple[str, ...]:
    """What there is to compile of an engine; each part can be compiled in a process of its own."""
    found: tuple[str, ...] = importlib.import_module(f"nnspec.engines.{engine}.ahead").PARTS
    return found


def compile_parts(wanted: Iterable[Part], at_once: int | None = None) -> list[Part]:
    """Compile parts in processes of their own, so many at once (by default one for each processor), and wait for them;
    the parts that failed.

    The processes are not ended if this one is: what they compile serves the next solve.
    """
    waiting = list(wanted)
    most = at_once or processors()
    running: list[tuple[Part, subprocess.Popen]] = []
    failed: list[Part] = []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    while waiting or running:
        while waiting and len(running) < most:
            part = waiting.pop(0)
            try:
                command = [sys.executable, "-m", "nnspec.engines.ahead", *part]
                process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
                running.append((part, process))
            except OSError:
                failed.append(part)
        for part, process in list(running):
            if process.poll() is not None:
                running.remove((part, process))
                if process.returncode:
                    failed.append(part)
        time.sleep(0.02)
    return failed


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Without Python's garbage collector, which takes a tenth of the time that numba needs."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def main() -> None:
    engine, part = sys.argv[1:]
    with no_collections():
        importlib.import_module(f"nnspec.engines.{engine}.ahead").compile_part(part)


if __name__ == "__main__":
    main()
