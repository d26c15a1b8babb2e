"""A table of what was estimated, and of how the fit went."""

from __future__ import annotations

import html
import math
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import stats

from emlearn.em import one_blas_thread
from emlearn.em.information import leave_one_out

WIDTH = 80
COLUMNS = ("estimate", "std err", "z", "P>|z|")


class Summary:
    """Estimates with standard errors, and how good and how certain the fit is.

    Made by the method `summary` of estimators. ``print`` shows it in 80 columns, a notebook as a table.

    Attributes
    ----------
    facts : dict
        What is known of the whole fit: log-likelihood, criteria, how the race of starts went.
    inference : Inference
        Where standard errors come from.
    level : float
        Of the intervals.
    """

    def __init__(self, title: str, facts: dict[str, Any], inference: Any, level: float):
        self.title, self.facts, self.inference, self.level = title, facts, inference, level
        self._low, self._high = inference._intervals(level)
        self._error = np.sqrt(np.diagonal(inference.covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            self._z = np.where(inference._scales == "real", inference.estimates / self._error, np.nan)

    @property
    def _ends(self):
        tail = (1 - self.level) / 2
        return f"[{tail:.3g}", f"{1 - tail:.3g}]"

    def _rows(self):
        """Label and cells of each estimate, as text."""
        p = 2 * stats.norm.sf(np.abs(self._z))
        fixed, unknown = set(self.inference.fixed), set(self.inference.not_estimable)
        for i in self.inference._distinct:
            label = self.inference.labels[i]
            why = "fixed" if label in fixed else "?" if label in unknown else None
            cells = [_number(self.inference.estimates[i]), why or _number(self._error[i])]
            cells += [f"{self._z[i]:.2f}", f"{p[i]:.3f}"] if math.isfinite(self._z[i]) else ["", ""]
            cells += ["", ""] if why else [_number(self._low[i]), _number(self._high[i])]
            yield label, cells

    def _notes(self):
        if self.inference.fixed:
            yield "fixed: on a boundary, counted as known."
        if self.inference.not_estimable:
            yield "?: the likelihood does not change with it."
        steps = ", through all steps of the fit" if self.inference._is_by_steps else ""
        yield f"Standard errors: {self.inference.kind}{steps}."

    def __str__(self) -> str:
        rows = list(self._rows())
        widths = [max(len(cells[j]) for _, cells in rows) for j in range(6)]
        heads = (*COLUMNS, *self._ends)
        widths = [max(w, len(head)) for w, head in zip(widths, heads, strict=True)]
        room = max(WIDTH - sum(widths) - 2 * len(widths), 12)
        fitting = (self.inference._short_labels(n) for n in range(room, 2, -1))
        labels = next(
            (found for found in fitting if max(map(len, found)) <= room), self.inference._short_labels(3)
        )

        shown = [labels[i] for i in self.inference._distinct]

        def line(label, cells):
            label = label if len(label) <= room else label[: room - 1] + "…"
            return label.ljust(room) + "".join(f"  {c:>{w}}" for c, w in zip(cells, widths, strict=True))

        lines = [self.title.center(WIDTH).rstrip(), "=" * WIDTH, *_in_two(self.facts), "=" * WIDTH]
        lines += [line("", heads), "-" * WIDTH, *map(line, shown, (cells for _, cells in rows)), "=" * WIDTH]
        return "\n".join([*(text.rstrip() for text in lines), *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(cells, tag="td"):
            inner = "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells)
            return f"<tr>{inner}</tr>"

        facts = "".join(row((name, _fact(value))) for name, value in self.facts.items())
        body = "".join(row((label, *cells)) for label, cells in self._rows())
        notes = "<br>".join(map(html.escape, self._notes()))
        head = row(("", *COLUMNS, *self._ends), "th")
        return (
            f"<table><caption>{html.escape(self.title)}</caption>{facts}</table>"
            f"<table><thead>{head}</thead><tbody>{body}</tbody></table><p>{notes}</p>"
        )

    def to_frame(self) -> Any:
        """The estimates as a `pandas.DataFrame`, with a row for each."""
        import pandas as pd

        return pd.DataFrame(
            {
                "estimate": self.inference.estimates,
                "std err": self._error,
                "z": self._z,
                "P>|z|": 2 * stats.norm.sf(np.abs(self._z)),
                self._ends[0]: self._low,
                self._ends[1]: self._high,
            },
            index=self.inference.labels,
        )

    def to_latex(self) -> str:
        """The estimates as a LaTeX table."""

        def row(cells):
            return " & ".join(map(_escaped, cells)) + r" \\"

        body = "\n".join(row((label, *cells)) for label, cells in self._rows())
        head = row(("", *COLUMNS, *self._ends))
        return "\n".join(
            [r"\begin{tabular}{lrrrrrr}", r"\hline", head, r"\hline", body, r"\hline", r"\end{tabular}"]
        )


def _number(value):
    """Four significant digits, or as many as stand before the point."""
    if not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    return f"{value:.3e}" if size < -4 or size > 6 else f"{value:.{max(3 - size, 0)}f}"


def _fact(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _in_two(facts):
    """Lines of two facts each."""
    cells = [f"{name}: {_fact(value)}" for name, value in facts.items()]
    half = WIDTH // 2
    for i in range(0, len(cells), 2):
        yield cells[i].ljust(half) + (cells[i + 1] if i + 1 < len(cells) else "")


def _escaped(text):
    for sign in "\\&%$#_{}":
        text = text.replace(sign, "\\textbackslash{}" if sign == "\\" else "\\" + sign)
    return text.replace("|", "$|$").replace("<", "$<$").replace(">", "$>$")


def criteria(log_likelihood: float, n_parameters: int, size: float) -> dict[str, float]:
    """Criteria of a fit, smaller is better, by so many observations."""
    misfit = -2 * log_likelihood
    return {
        "aic": misfit + 2 * n_parameters,
        "bic": misfit + n_parameters * math.log(size),
        "sabic": misfit + n_parameters * math.log((size + 2) / 24),
    }


def criterion_of(estimator: Any, name: str, X: Any, **given: Any) -> float:
    """A criterion of data that every density has, "sabic" or "loo"; smaller is better."""
    estimator._check_is_density()
    again = estimator._seen_again(X, **given)
    model = replace(again.model or estimator._model, assignment="soft")
    if name == "loo":
        return -2 * (leave_one_out(model, estimator._params, again.data) - again.log_volume)
    with one_blas_thread():
        log_likelihood = again.data.sum(model.expectation(estimator._params)).log_likelihood - again.log_volume
    return criteria(float(log_likelihood), estimator.n_parameters_, again.size)[name]


def facts_of(estimator: Any, inference: Any, X: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What is known of a fit as a whole, by name."""
    k, log_likelihood, size = estimator.n_parameters_, inference.log_likelihood, inference.size
    of_size = criteria(log_likelihood, k, size)
    facts: dict[str, Any] = {
        "log-likelihood": log_likelihood,
        "parameters": k,
        "observations": size,
        **{name.upper(): value for name, value in of_size.items()},
    }
    if hasattr(estimator, "icl"):
        facts["ICL"] = icl = float(estimator.icl(X, **given))
        if estimator.n_components > 1:
            facts["entropy"] = 1 - (icl - of_size["bic"]) / (2 * size * math.log(estimator.n_components))
    if not inference._is_by_steps:
        facts["missing information"] = inference.missing_information()
    if hasattr(estimator, "restarts_"):
        race = estimator.restarts_
        facts["converged"] = f"{estimator.converged_}, {estimator.n_iter_} iterations"
        facts["still to gain"] = f"{estimator.gap_:.2g} nats"
        facts["starts at the best"] = f"{race.n_best} of {len(race.starts)}"
        facts["unseen maxima"] = f"{race.unseen:.0%}"
    return facts
