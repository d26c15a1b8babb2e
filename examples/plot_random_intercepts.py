"""
Clinics with intercepts of their own, by Monte Carlo EM
=======================================================

Counts of visits by week, from clinics that differ: a Poisson regression in which each clinic has an intercept
of its own, normally distributed over clinics. Given the counts the intercepts have no distribution in closed
form, but they are easily drawn. The model states how, and `fit_mcem` finds out how many draws it takes.
Here the likelihood can be had by quadrature too, which shows how good the answer is.

Run this file: it prints what it finds, and saves a picture as ``random_intercepts.png``.
"""

# %%
# The model
# ---------
# A clinic is a sequence of rows: week's count, then features. What is hidden is one number for each.
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from emlearn.em import Batches, Draws, MonteCarloModel, Positive, Real, fit_mcem


class Params(NamedTuple):
    level: float  # mean of the intercepts
    variance: float  # of the intercepts
    slopes: np.ndarray  # of the features


class Stats(NamedTuple):
    clinics: float
    first: float  # Σ intercept
    second: float  # Σ intercept²
    score: np.ndarray  # derivatives of the log density by the slopes
    information: np.ndarray


class RandomIntercepts(MonteCarloModel):
    spaces = Params(Real(), Positive(), Real())

    def parts(self, params, batch):
        """Counts, features, exp(slopes · features), and a function that adds up over a clinic's weeks."""
        clinic = batch.lanes.places()[1]

        def per_clinic(values):
            return np.bincount(clinic, values, len(batch.lanes.lengths))

        return batch.x[0], batch.x[1:], np.exp(params.slopes @ batch.x[1:]), per_clinic

    def mode(self, params, batch):
        """Where the posterior of each clinic's intercept is highest, and how wide it is there."""
        y, _, scale, per_clinic = self.parts(params, batch)
        seen, expected = per_clinic(y), per_clinic(scale)
        mode = np.log((seen + 1) / (expected + np.exp(-params.level)))
        for _ in range(10):  # Newton's method
            curvature = expected * np.exp(mode) + 1 / params.variance
            slope = seen - expected * np.exp(mode) - (mode - params.level) / params.variance
            mode = mode + np.clip(slope / curvature, -1, 1)
        return mode, 1 / np.sqrt(curvature)

    def sample_hidden(self, params, batch, n_draws, rng):
        """Draws from a Student distribution: its tails are heavier than those of the posterior."""
        mode, width = self.mode(params, batch)
        noise = rng.standard_t(5, size=(n_draws, len(mode)))
        return Draws(mode + width * noise, stats.t.logpdf(noise, 5) - np.log(width))

    def log_joint(self, params, batch, hidden):
        y, features, scale, per_clinic = self.parts(params, batch)
        given = per_clinic(y * (params.slopes @ features)) + per_clinic(y) * hidden
        given -= per_clinic(scale) * np.exp(hidden)
        off = (hidden - params.level) ** 2 / params.variance
        return given - 0.5 * (off + np.log(2 * np.pi * params.variance))

    def statistics(self, params, batch, hidden, resp):
        y, features, scale, _ = self.parts(params, batch)
        clinic = batch.lanes.places()[1]
        mean = scale * (resp * np.exp(hidden)).sum(axis=0)[clinic]
        weight = resp.sum(axis=0)[clinic]
        return Stats(
            resp.sum(),
            (resp * hidden).sum(),
            (resp * hidden**2).sum(),
            features @ (weight * y - mean),
            (features * mean) @ features.T,
        )

    def maximize(self, stats, params):
        """Exact for the intercepts, one Newton step for the slopes."""
        return self.shortened(stats, params, 0)

    def shortened(self, stats, params, attempt):
        level = stats.first / stats.clinics
        step = np.linalg.solve(stats.information, stats.score)
        return Params(level, stats.second / stats.clinics - level**2, params.slopes + 0.5**attempt * step)


# %%
# Forty clinics
# -------------
# A program begins half-way in half of them; there is a trend over the weeks.
rng = np.random.default_rng(3)
weeks = rng.integers(4, 13, size=40)
clinic = np.repeat(np.arange(40), weeks)
week = np.concatenate([np.arange(n) / 12 for n in weeks])
treated = (clinic % 2) * (week >= (weeks[clinic] // 2) / 12)
intercept = rng.normal(0.3, 0.8, size=40)
counts = rng.poisson(np.exp(intercept[clinic] + 0.4 * week - 0.5 * treated))
X = np.column_stack([counts, week, treated]).astype(float)

# %%
# Monte Carlo EM
# --------------
# From no effects and intercepts of variance 1.
start = Params(float(np.log(counts.mean())), 1.0, np.zeros(2))
model, data = RandomIntercepts(), Batches(X, lengths=weeks)
fit = fit_mcem(model, start, data, random_state=0)
print(f"{fit.reason} after {fit.n_iter} steps; less than {fit.gap:.1g} nats still to be gained")
print("step   increment of Q (held out)   draws   effective at least   still to gain, at most")
for number, step in enumerate(fit.history, 1):
    print(
        f"{number:4d}   {step.held_out:14.4f} ± {step.held_out_error:.4f}   {step.n_draws:5d}   "
        f"{step.effective:18.0f}   {step.gap:22.3g}"
    )


# %%
# The same by quadrature
# ----------------------
# Thirty nodes of Gauss and Hermite about the mode of each clinic, and a general optimiser. About the mean of
# all clinics not even sixty are enough: the log-likelihood is .1 off, as narrow posteriors fall between them.
nodes, node_weights = np.polynomial.hermite_e.hermegauss(30)
log_weights = np.log(node_weights) + 0.5 * nodes**2
(batch,) = data


def log_likelihood(vector):
    params = Params(vector[0], np.exp(2 * vector[1]), vector[2:])
    mode, width = model.mode(params, batch)
    height = model.log_joint(params, batch, mode + width * nodes[:, None]) + log_weights[:, None]
    return np.sum(np.logaddexp.reduce(height, axis=0) + np.log(width))


best = optimize.minimize(lambda vector: -log_likelihood(vector), np.zeros(4))
path = np.array(
    [
        [params.level, 0.5 * np.log(params.variance), *params.slopes]
        for params in (start, *(step.params for step in fit.history))
    ]
)
print("\n          Monte Carlo EM   quadrature   standard error")
errors = np.sqrt(np.diag(best.hess_inv))
for name, here, there, error in zip(
    ("level", "log sd", "trend", "program"), path[-1], best.x, errors, strict=True
):
    print(f"{name:8s}   {here:13.4f}   {there:10.4f}   {error:14.4f}")
print(f"log-likelihood by quadrature: {log_likelihood(path[-1]):.4f}, which is at most {-best.fun:.4f}")
print(f"as Monte Carlo EM has it:     {fit.log_likelihood:.4f} ± {fit.log_likelihood_error:.4f}")

# %%
# The picture
# -----------
# Steps are judged by draws that they do not know. Where the increment drowns in its error more are drawn,
# until what may be left is below the tolerance, .01. The way there goes up the likelihood.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
steps = np.arange(1, fit.n_iter + 1)
ax = axes[0]
held_out, error = (
    np.array([getattr(step, name) for step in fit.history]) for name in ("held_out", "held_out_error")
)
ax.errorbar(steps, held_out, 2 * error, fmt="o", color="C0", markersize=4, capsize=3)
ax.axhline(0, color="0.6", linewidth=1)
ax.set_yscale("symlog", linthresh=0.01)
ax.set_ylim(-0.1, 40)
ax.set(title="Increment of Q, ± 2 standard errors", xlabel="step", ylabel="nats")

ax = axes[1]
ax.plot(steps, [step.n_draws for step in fit.history], "o-", color="C0", markersize=4, drawstyle="steps-mid")
ax.set(title="Draws for each clinic", xlabel="step", yscale="log")

ax = axes[2]
sd, program = np.meshgrid(np.linspace(-0.62, 0.06, 40), np.linspace(-1.02, 0.06, 40))
plane = [
    [log_likelihood(np.array([best.x[0], a, best.x[2], b])) for a, b in zip(*row, strict=True)]
    for row in zip(sd, program, strict=True)
]
levels = -best.fun - np.array([18, 8, 4.5, 2, 0.5])
ax.contour(np.exp(sd), program, plane, levels=levels, colors="0.75", linewidths=1, linestyles="solid")
ax.plot(np.exp(path[:, 1]), path[:, 3], "o-", color="C0", markersize=4, linewidth=1.2, label="Monte Carlo EM")
ax.plot(np.exp(best.x[1]), best.x[3], "x", color="C3", markersize=10, markeredgewidth=2, label="quadrature")
ax.set(
    title="The way up (grey: 0.5, 2, 4.5, 8, 18 nats below)",
    xlabel="standard deviation of intercepts",
    ylabel="effect of the program",
)
ax.legend(frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("random_intercepts.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
