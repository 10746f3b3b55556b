"""Finding and reading files that a spec names: inside the spec's folder only, regular files only, hashed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from nnspec.language.sources.errors import DataError, did_you_mean

MAX_BYTES = 100 * 2**20
"""Larger files are refused: no network is trained to a proof on that much, and a table takes twenty times its file."""


class FileReader:
    """Reads the files a spec refers to and remembers their hashes.

    `reach` is the folder that all of them must lie in, after symbolic links and `..` have been resolved: a spec from
    somebody else must not be able to read the rest of the disk.
    """

    def __init__(self, reach: Path):
        self.reach = reach.resolve()
        self.hashes: dict[str, str] = {}
        self._bytes: dict[Path, bytes] = {}

    def locate(self, name: str, folder: Path) -> Path:
        """The path of the file that a statement in `folder` calls `name`. DataError if it cannot or may not be read."""
        if not name or "\0" in name:
            raise DataError("NNS060", "this is no file name", about="file")
        try:
            path = (folder / name).resolve()
            inside = path.is_relative_to(self.reach)
            exists, regular, directory = (
                (path.exists(), path.is_file(), path.is_dir()) if inside else (True, True, False)
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError("NNS060", f"the file {short(name)} cannot be found", _reason(error), "file") from None
        if not inside:
            raise DataError(
                "NNS061",
                f"the file {short(name)} lies outside the folder of the spec",
                "a spec reads only files in its own folder and below: copy the file there, or move the spec up",
                "file",
            )
        if directory:
            raise DataError("NNS060", f"{short(name)} is a folder, not a file", about="file")
        if not exists:
            raise DataError("NNS060", f"there is no file {short(name)}", _similar(path), "file")
        if not regular:
            raise DataError("NNS060", f"{short(name)} is not a regular file", about="file")
        return path

    def read(self, name: str, folder: Path) -> tuple[Path, bytes]:
        """Path and contents. Each file is read once, however many statements name it."""
        path = self.locate(name, folder)
        if path not in self._bytes:
            try:
                size = path.stat().st_size
                if size > MAX_BYTES:
                    raise DataError(
                        "NNS062",
                        f"{short(name)} has {size / 2**20:.0f} MB; data files are read up to {MAX_BYTES // 2**20} MB",
                        about="file",
                    )
                content = path.read_bytes()
            except OSError as error:
                raise DataError("NNS062", f"{short(name)} cannot be read", _reason(error), "file") from None
            self._bytes[path] = content
            self.hashes[os.path.relpath(path, self.reach)] = hashlib.sha256(content).hexdigest()
        return path, self._bytes[path]


def short(name: str, limit: int = 60) -> str:
    """A file name as it is shown: quoted, on one line, not longer than `limit`."""
    shown = name if len(name) <= limit else "..." + name[-limit:]
    return '"' + "".join(c if c.isprintable() else "?" for c in shown) + '"'


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or "the name is not valid here"
    return f"the system says: {text}"


def _similar(path: Path) -> str | None:
    try:
        siblings = [p.name for p in path.parent.iterdir() if p.is_file()]
    except OSError:
        return f"the folder {short(path.parent.name)} does not exist either"
    return did_you_mean(path.name, siblings, "file names are relative to the spec that names them")
