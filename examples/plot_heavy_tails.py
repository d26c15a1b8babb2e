"""
Calm and wild days
==================

Returns of a market have more large moves than a Gaussian allows, even on calm days. A hidden Markov model
with Gaussian states then takes every large move for a visit to the wild state, and regimes are short. With
Student's t for what states emit a calm regime may have its outliers.

The returns here are made, so that the truth is known. Run this file: it prints what it finds, and saves a
picture as ``heavy_tails.png``.
"""

# %%
# Returns of two regimes
# ----------------------
# Both have three degrees of freedom; wild days move three times as far.
from pathlib import Path

import numpy as np

from emlearn import HMMEM

rng = np.random.RandomState(1)
n, stay = 1500, 0.99
wild = np.cumsum(rng.uniform(size=n) > stay) % 2
returns = np.array([0.5, 1.5])[wild] * rng.standard_t(3, size=n)
X = returns[:, None]

# %%
# Two models of them
# ------------------
# The states are in the order of how far they move: calm first.
models = {}
print("emission    log-likelihood       BIC   regimes found   days in the right one   degrees of freedom")
for emission in ("gaussian", "student_t"):
    model = HMMEM(2, emission=emission, random_state=0).fit(X)
    spread = model.covariances_ if emission == "gaussian" else model.scale_matrices_
    model.reorder(np.argsort(spread.ravel()))
    models[emission] = model
    path = model.predict(X)
    n_regimes = 1 + np.count_nonzero(np.diff(path))
    df = model.df_.round(1) if emission == "student_t" else ""
    print(
        f"{emission:9s} {model.log_likelihood_:16.1f} {model.bic(X):9.1f} {n_regimes:15d} "
        f"{(path == wild).mean():23.1%}   {df}"
    )
print(f"\nthere are {1 + np.count_nonzero(np.diff(wild))} regimes")

# %%
# How long do regimes last?
# -------------------------
for emission, model in models.items():
    print(f"{emission:9s}  days in a regime: {(1 / (1 - np.diag(model.transmat_))).round(0)}")
print(f"truth      days in a regime: {1 / (1 - stay):.0f}")

# %%
# How certain are the degrees of freedom?
# ---------------------------------------
robust = models["student_t"]
low, high = robust.confidence_intervals(X)["df_"]
for state, name in enumerate(("calm", "wild")):
    print(f"{name}: {robust.df_[state]:.1f}, between {low[state]:.1f} and {high[state]:.1f}")

# %%
# The picture
# -----------
import matplotlib.pyplot as plt

figure, axes = plt.subplots(3, 1, figsize=(9, 6), sharex=True, layout="constrained")
axes[0].plot(returns, lw=0.6, color="0.3")
axes[0].fill_between(range(n), *axes[0].get_ylim(), where=wild == 1, color="tab:red", alpha=0.15, lw=0)
axes[0].set(ylabel="return, %", title="Returns, and the wild days among them")
for ax, (emission, model) in zip(axes[1:], models.items(), strict=True):
    ax.fill_between(range(n), model.predict_proba(X)[:, 1], color="tab:blue", alpha=0.6, lw=0)
    ax.fill_between(range(n), 0, 1, where=wild == 1, color="tab:red", alpha=0.15, lw=0)
    ax.set(ylabel="probability", ylim=(0, 1), title=f'Wild day, by emission="{emission}"')
axes[-1].set(xlabel="day", xlim=(0, n))
picture = Path("heavy_tails.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
