"""Checks of evidence files in exact arithmetic. Nothing is shared with the engine; `statement` has the mathematics."""
