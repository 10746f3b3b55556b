"""Envelopes contain their functions, and their stated errors are true and tight."""

from __future__ import annotations

import numpy as np
import pytest

from nnspec.encodings import gelu
from nnspec.encodings.envelope import SMOOTH, chord_errors, envelope
from nnspec.program.functions import apply

from .problems import training
from .test_complete import agrees


@pytest.mark.parametrize("function", SMOOTH)
def test_envelope_contains_the_function(function):
    r = np.random.default_rng(0)
    for _ in range(15):
        lo, hi = np.sort(r.normal(size=2) * 10 ** r.uniform(-1, 1.3))
        e = envelope(function, float(lo), float(hi))
        z = np.linspace(lo, hi, 4001)
        g = np.interp(z, e.points, e.values)
        f = apply(function, z)
        assert np.all(f >= g - e.below)
        assert np.all(f <= g + e.above)
        # the bound is attained somewhere: not inflated
        assert max(np.max(g - f), np.max(f - g)) >= 0.5 * max(e.below, e.above) - 1e-9
        assert e.points[0] == lo
        assert e.points[-1] == hi


def test_more_segments_are_closer():
    errors = [envelope("tanh", -4.0, 4.0, k).error for k in (4, 8, 16)]
    assert errors[1] < 0.4 * errors[0]
    assert errors[2] < 0.4 * errors[1]


def test_chord_error_is_the_parabola_bound():
    assert abs(chord_errors("exp", np.array([0.0]), np.array([1e-2]))[0] - 1e-4 / 8) < 1e-6


def test_gelu_formula_on_the_whole_line():
    z = np.arange(-8.0, 8.0, 1e-4)
    gap = z * apply("sigmoid", gelu.polynomial(z)) - apply("gelu", z)
    assert np.max(np.abs(gap)) + 2.5e-8 < gelu.ERROR
    second = np.abs(np.diff(gap, 2)).max() / 1e-8
    assert second < 20
    far = np.concatenate([np.linspace(8, 1000, 100001), -np.linspace(8, 1000, 100001)])
    assert np.all(np.abs(gelu.polynomial(far)) > far**2 / 2)
    assert np.max(np.abs(far * apply("sigmoid", gelu.polynomial(far)) - np.maximum(far, 0))) < 1e-12


@pytest.mark.parametrize("template", ["envelope", "envelope_binary"])
@pytest.mark.parametrize("function", SMOOTH)
def test_no_point_is_cut_off(function, template):
    r = np.random.default_rng(1)
    compiled = agrees(training("sse", function, r, sizes=(2, 2, 2, 1)), {function: template})
    assert compiled.errors
