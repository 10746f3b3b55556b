"""The folder that a solve writes to. What is not ours is never overwritten.

A file is ours if the solution.json of the folder lists it with the hash that it still has; so a file that somebody
edited, or put there, stops the solve before it starts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from nnspec.errors import Diagnostic, UsageError
from nnspec.formats.files import write_bytes

RECORD = "solution.json"


class OutputFolder:
    """Checks at once that the folder can be written to; creates it only when there is something to write."""

    def __init__(self, path: Path | str, force: bool = False):
        self.path = Path(path)
        self.force = force
        parent = self.path
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        if not parent.is_dir():
            raise self._refused(f"{str(parent)!r} is not a folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise self._refused(f"no permission to write to {str(parent)!r}")

    def claim(self, names: list[str]) -> None:
        """Raise UsageError if one of these files is there and not ours."""
        if self.force:
            return
        known = self._recorded()
        for name in [*names, RECORD]:
            file = self.path / name
            if not file.exists() or (name == RECORD and known is not None):
                continue
            if known is None or known.get(name) != sha256(file.read_bytes()):
                raise UsageError(Diagnostic(
                    "NNS321", f"{str(file)!r} was not written by an earlier solve, or has changed since",
                    help="choose another folder with --out, or allow it with --force",
                ))  # fmt: skip

    def write(self, contents: Mapping[str, bytes], record: dict[str, object]) -> tuple[Path, ...]:
        """Write the files and then the record, which lists their hashes; each file is replaced at once."""
        record = {**record, "file_hashes": {name: sha256(content) for name, content in contents.items()}}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name, content in contents.items():
                write_bytes(self.path / name, content)
            text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
            write_bytes(self.path / RECORD, (text + "\n").encode())
        except OSError as error:
            raise self._refused(error.strerror or str(error)) from None
        return tuple(self.path / name for name in [*contents, RECORD])

    def _recorded(self) -> dict[str, str] | None:
        """Hashes by file name from the folder's record; None without a record of ours."""
        try:
            record = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict) or record.get("producer") != "nnspec":
            return None
        hashes = record.get("file_hashes")
        return hashes if isinstance(hashes, dict) else {}

    def _refused(self, why: str) -> UsageError:
        return UsageError(Diagnostic("NNS322", f"cannot write to {str(self.path)!r}: {why}",
                                     help="choose another folder with --out"))  # fmt: skip


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
