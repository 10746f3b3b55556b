"""How to solve, as opposed to what: flags, or an nnspec.toml beside the spec. Flags win.

# nnspec.toml
time_limit = 600        # seconds
gap = 1e-4              # relative
threads = 2
engine = "solver"
backend = "scip"
[encoding]
relu = "sos1"
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nnspec.errors import Diagnostic, UsageError
from nnspec.status import Limits
from nnspec.tolerances import GAP

FILE = "nnspec.toml"


@dataclass(frozen=True)
class Settings:
    """Limits (seconds, relative gap, nodes, megabytes), threads (0: all cores), seed, and which engine to use how."""

    time_limit: float | None = None
    gap: float = GAP
    node_limit: int | None = None
    memory_limit: float | None = None
    threads: int = 0
    seed: int = 0
    engine: str = "auto"
    backend: str | None = None
    encoding: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (
            ("time_limit", 0.0),
            ("gap", 0.0),
            ("node_limit", 1),
            ("memory_limit", 1.0),
            ("threads", 0),
        ):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and least <= value < math.inf):
                raise _wrong(f"{name} must be a number of at least {least:g}, not {value!r}")
        for name in ("node_limit", "threads", "seed"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), int):
                raise _wrong(f"{name} must be a whole number, not {getattr(self, name)!r}")
        if not 0 <= self.seed < 2**31:
            raise _wrong(f"seed must be between 0 and {2**31 - 1}")
        for name in ("engine", "backend"):
            if not isinstance(getattr(self, name), str | None):
                raise _wrong(f"{name} must be text, not {getattr(self, name)!r}")
        if not isinstance(self.encoding, Mapping) or not all(isinstance(v, str) for v in self.encoding.values()):
            raise _wrong('encoding must map layers or activations to template names, like relu = "sos1"')

    @property
    def limits(self) -> Limits:
        return Limits(time=self.time_limit, gap=self.gap, nodes=self.node_limit, threads=self.threads,
                      memory=self.memory_limit, seed=self.seed)  # fmt: skip

    def updated(self, given: Mapping[str, Any]) -> Settings:
        """With the given values (None: not given) in place of the old ones; encodings are added."""
        known = [f.name for f in fields(self)]
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                raise _wrong(f"unknown setting {name!r}", f"did you mean {close[0]}?" if close else ", ".join(known))
        chosen = {name: value for name, value in given.items() if value is not None}
        if isinstance(chosen.get("encoding"), Mapping):
            chosen["encoding"] = {**self.encoding, **chosen["encoding"]}
        return replace(self, **chosen)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def read_settings(folder: Path) -> Settings:
    """The settings of the nnspec.toml in a folder; the defaults if there is none."""
    path = folder / FILE
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _wrong(f"cannot read {str(path)!r}: {error}") from None
    try:
        return Settings().updated(found)
    except UsageError as error:
        first = error.diagnostics[0]
        raise UsageError(replace(first, message=f"{path}: {first.message}")) from None


def _wrong(message: str, help: str | None = None) -> UsageError:
    return UsageError(Diagnostic("NNS323", message, help=help))
