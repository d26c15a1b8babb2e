"""The one place that touches scikit-learn's unstable parts, and bridges its versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import _check_feature_names, _check_feature_names_in, validate_data

if TYPE_CHECKING:  # scikit-learn has no types; its decorators leave those of a method as they are
    from collections.abc import Callable
    from typing import Any

    from sklearn.callback import CallbackSupportMixin

    from emlearn._typing import Method

    def _fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]: ...
    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]: ...
    def with_callbacks(method: Method) -> Method: ...

else:
    from sklearn.base import _fit_context
    from sklearn.utils.metaestimators import available_if

    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # scikit-learn < 1.9 has no callbacks; `verbose` is the progress there

        class CallbackSupportMixin:
            """Stands in for scikit-learn's mixin: an estimator without callbacks."""

            def _init_callback_context(self, **kwargs):
                return _NoContext()

        class _NoContext:
            def subcontext(self, **kwargs):
                return self

            def call_on_fit_task_begin(self, **kwargs):
                return self

            def call_on_fit_task_end(self, **kwargs):
                return False

        def with_callbacks(method):
            """Return the method as it is."""
            return method


def in_container(data, X, estimator):
    """What a transformer makes of X in the container that its ``set_output`` asks for."""
    return _wrap_data_with_container("transform", data, X, estimator)


__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "_check_feature_names",
    "_check_feature_names_in",
    "_fit_context",
    "available_if",
    "in_container",
    "validate_data",
    "with_callbacks",
]
