"""
How the Federal Reserve steers, in calm times and in others
===========================================================

A central bank sets its interest rate by what it was before, by inflation, and by how busy the economy is. One
regression over fifty years says by how much, on average. But there were calm years and others, and which was
which is not recorded. A Markov switching regression says: in each quarter one of a few regressions holds, and
regimes last. EM finds the regressions, how long they last, and which quarter was probably in which.

The data are the federal funds rate from 1954 to 2010, with inflation and the output gap, on which Stata and
statsmodels show their Markov switching models. Run this file: it prints what it finds, and saves a picture as
``switching_regression.png``. It needs matplotlib.
"""

# %%
# One regression, or several?
# ---------------------------
# Features must be known at every step. The rate of the quarter before is one of them, like any other. The first
# regime is drawn from the steady state of the chain, as in other packages.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from emlearn import MarkovSwitchingRegression
from emlearn.datasets import load_fed_funds

rates = load_fed_funds()
X = np.column_stack([rates.target[3:-1], rates.data[4:]])  # inflation is known from the fifth quarter on
y = rates.target[4:]
when = rates.year[4:] + (rates.quarter[4:] - 1) / 4

fits = {}
print("regimes   noise   parameters   log-likelihood      BIC")
for K, shared in ((1, True), (2, True), (2, False), (3, False)):
    model = MarkovSwitchingRegression(K, shared_variance=shared, startprob="stationary", random_state=0)
    fits[K, shared] = model.fit(X, y)
    noise = "shared" if shared else "own"
    print(
        f"{K:7d}   {noise:6s}  {model.n_parameters_:10d}   {model.log_likelihood_:14.2f}   "
        f"{model.bic(X, y):6.1f}"
    )

# That regimes differ is beyond doubt, and most of all they differ in noise. A third regime earns hardly
# anything by BIC; two can be told in words.
model = fits[2, False]
print(f"\ntwo regimes with noise of their own: {model.restarts_}")

# %%
# What are they like?
# -------------------
# Regimes come in the order of their mean response. Here it is the noise that names them.
calm, rough = np.argsort(model.sigma_)
lasts = 1 / (1 - np.diag(model.transmat_))
print("\nregime   last quarter   inflation   output gap   noise, %   lasts, quarters   share of time")
for name, k in (("calm", calm), ("rough", rough)):
    lag, inflation, gap = model.coef_[k]
    print(
        f"{name:6s}   {lag:12.2f}   {inflation:9.2f}   {gap:10.2f}   {model.sigma_[k]:8.2f}   {lasts[k]:15.1f}"
        f"   {model.stationary_distribution_[k]:13.0%}"
    )
print(
    "\nIn calm times the rate follows its own past to a third of a percent. In rough ones the bank answers the "
    "output gap\nmore than twice as strongly, and the noise is more than four times as large."
)

# %%
# Which quarter was in which?
# ---------------------------
# Smoothed probabilities know the whole series, filtered ones only what was known at the time.
smoothed = model.predict_proba(X, y)[:, rough]
filtered = model.filter_proba(X, y)[:, rough]
regimes, _ = model.decode(X, y)
print("\nrough times, by the most probable path:")
edges = np.flatnonzero(np.diff(np.r_[0, regimes == rough, 0]))
for begin, end in edges.reshape(-1, 2):
    first, last = int(when[begin]), int(when[end - 1])
    years = f"{first}" if first == last else f"{first} to {last}"
    print(f"  {years}: {end - begin} quarter{'s' if end - begin > 1 else ''}")

# %%
# And what next?
# --------------
# The features of the quarters that come must be known or supposed: here the last rate, and prices and output as
# they were. The uncertainty is that of two regimes.
ahead = model.predict_next(X, y, [[y[-1], *rates.data[-1]]])
mean, std = ahead.mean[0], ahead.std[0]
print(
    f"\nnext quarter: rough with probability {ahead.regime_proba[0, rough]:.0%}, "
    f"a rate of {mean:.2f} ± {std:.2f} %"
)

# %%
# The picture
# -----------
figure, (series, proba) = plt.subplots(
    2, 1, figsize=(9, 5.6), sharex=True, height_ratios=[1.7, 1], layout="constrained"
)
for begin, end in edges.reshape(-1, 2):
    for ax in (series, proba):
        ax.axvspan(when[begin] - 0.125, when[end - 1] + 0.125, color="C1", alpha=0.18, lw=0)
series.plot(when, y, color="0.15", lw=1.4, label="federal funds rate")
fitted = model.predict(X, y)
series.plot(when, fitted, color="C0", lw=0.9, label="mean given the quarter before, inflation and output gap")
series.plot([], [], color="C1", alpha=0.3, lw=8, label="rough times (most probable path)")
series.set_ylabel("% a year")
series.set_ylim(bottom=0)
series.legend(frameon=False, loc="upper right", fontsize=9)
proba.plot(when, filtered, color="0.6", lw=1, label="known at the time")
proba.plot(when, smoothed, color="C1", lw=1.6, label="known in the end")
proba.set_ylabel("probability of\nrough times")
proba.set_ylim(-0.02, 1.02)
proba.legend(frameon=False, loc="upper right", fontsize=9, ncols=2, bbox_to_anchor=(1, 1.25))
proba.set_xlim(when[0], when[-1])
for ax in (series, proba):
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("switching_regression.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
