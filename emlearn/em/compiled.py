"""Where compiled code comes from, and what takes its place."""

from __future__ import annotations

import os
import warnings
from importlib import import_module
from types import ModuleType


def compiled_or(twin: ModuleType) -> ModuleType:
    """The compiled module of which ``twin``, named ..._numpy, is the twin; this where that is not built."""
    if os.environ.get("EMLEARN_PURE_PYTHON", "") in ("", "0"):
        try:
            return import_module(twin.__name__.removesuffix("_numpy"))
        except ModuleNotFoundError:  # not built: there was no compiler
            pass
        except ImportError as error:
            warnings.warn(
                f"Compiled code of emlearn cannot be loaded ({error}): NumPy takes its place, slower. Install "
                "emlearn again.",
                RuntimeWarning,
                stacklevel=3,
            )
    return twin
