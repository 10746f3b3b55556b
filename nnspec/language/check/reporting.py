"""Errors end one statement, not the check."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from nnspec.language.check.context import CheckError, Context, Poisoned


@contextlib.contextmanager
def reported(ctx: Context) -> Iterator[None]:
    """Errors inside are reported; what rests on errors already reported stays silent."""
    try:
        yield
    except CheckError as error:
        ctx.report(error.diagnostic)
    except Poisoned:
        pass
