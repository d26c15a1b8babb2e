"""Warnings that point to the user's line."""

import sys
import warnings

INSIDE = ("emlearn.", "sklearn.", "joblib.")  # no warning points there


def warn(message, category):
    """Warn from the first frame that is the user's."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
