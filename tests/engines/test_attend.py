"""Limits and stops hold for an engine that does not look at them, as none does while it is compiled."""

import threading
import time

import pytest

from nnspec.engines import attend
from nnspec.engines.attend import solve_attended
from nnspec.engines.interface import Limits, Outcome, Progress, Status


class Deaf:
    """Answers after a while, whatever it is told."""

    name = "cells"

    def __init__(self, seconds):
        self.seconds = seconds
        self.halted = threading.Event()

    def begins(self, problem):
        return False

    def accepts(self, problem):
        return None

    def solve(self, problem, limits, start=(), on_progress=None, stop=None):
        if self.seconds == 0.6:
            on_progress(Progress(0.0, 3.0, 2.0, 5, "a point"))
            on_progress(Progress(0.1, 3.0, 2.5, 6))
        time.sleep(self.seconds)
        if self.seconds < 0.1:
            raise ZeroDivisionError
        if stop.wait(5.0):
            self.halted.set()
        return Outcome(Status.OPTIMAL, None, 1.0, 1.0, self.seconds, 7, self.name)


def ask(engine, seconds, stop=None):
    return solve_attended(engine, None, Limits(time=seconds), (), None, stop)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(attend, "GRACE", 0.2)


def test_an_overdue_engine_is_left_behind_and_told_to_end():
    engine = Deaf(0.5)
    outcome = ask(engine, 0.1)
    assert (outcome.status, outcome.point, outcome.bound) == (Status.LIMIT, None, None)
    assert "compiling" in outcome.messages[0]
    assert engine.halted.wait(5.0)


def test_what_was_reported_is_kept():
    outcome = ask(Deaf(0.6), 0.1)
    assert (outcome.status, outcome.point, outcome.objective) == (Status.LIMIT, "a point", 3.0)
    assert (outcome.bound, outcome.nodes) == (2.5, 6)
    assert "in time" in outcome.messages[0]


def test_a_stop_is_passed_on():
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    assert ask(Deaf(0.5), None, stop).status is Status.INTERRUPTED
    assert ask(Deaf(0.15), None, stop).nodes == 7


def test_answers_and_failures_come_through():
    with pytest.raises(ZeroDivisionError):
        ask(Deaf(0.0), 1.0)
