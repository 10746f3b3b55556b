"""What goes wrong with data. The checker adds the place in the spec."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import TypeVar


class DataError(Exception):
    """A problem with a data source.

    `about` says which part of the statement to point at: "file", a column's name, an option's name, or None for all.
    `others` are further problems with the same source.
    """

    def __init__(self, code: str, message: str, help: str | None = None, about: str | None = None):
        super().__init__(message)
        self.code, self.message, self.help, self.about = code, message, help, about
        self.others: tuple[DataError, ...] = ()


T = TypeVar("T")


def each(tasks: Iterable[Callable[[], T]]) -> list[T]:
    """The results of all tasks; if some raise DataErrors, the first of them, with the others."""
    results, errors = [], []
    for task in tasks:
        try:
            results.append(task())
        except DataError as error:
            errors += [error, *error.others]
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return results


def did_you_mean(name: str, known: Iterable[str], otherwise: str | None = None) -> str | None:
    """A help text with the closest known name; matching ignores case. None (or `otherwise`) if nothing is close."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[close[0]]}?" if close else otherwise
