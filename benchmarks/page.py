"""The generated sections of docs/benchmarks.md, and the machine that a run was made on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def machine() -> str:
    """Processor, cores, load and the versions that matter, in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    versions = []
    for package, shown in (("pyscipopt", "PySCIPOpt"), ("gurobipy", "gurobipy"), ("ortools", "ortools")):
        try:
            versions.append(f"{shown} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return (f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start, "
            f"Python {platform.python_version()}, {', '.join(versions)}")  # fmt: skip


def write_section(name: str, text: str) -> None:
    """Replace what stands between <!-- begin NAME --> and <!-- end NAME --> on the page."""
    page = PAGE.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE} has no section {begin} ... {end}")
    PAGE.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}", encoding="utf-8")
