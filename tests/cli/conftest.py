"""Running the command line inside the test process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from nnspec.cli.main import run

XOR = """data D = table(x = [[0, 0], [0, 1], [1, 0], [1, 1]], y = [0, 1, 1, 0])
net f = input(2) -> h: dense(2, relu) -> dense(1) with weights in -4..4, biases in -4..4
minimize sse(f, D)
"""


@dataclass
class Ended:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def nnspec(tmp_path, monkeypatch, capfd) -> Callable[..., Ended]:
    """Call with the words of a command line; runs in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Ended:
        status = run([str(w) for w in words])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return Ended(status, captured.out, captured.err)

    return call


@pytest.fixture
def xor(tmp_path):
    path = tmp_path / "xor.nns"
    path.write_text(XOR)
    return path
