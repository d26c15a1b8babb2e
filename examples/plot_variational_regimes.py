"""
How many regimes do the data support?
=====================================

A hidden Markov model with more states always fits better. BIC takes off what parameters are worth; it is an
approximation for long data, and a hundred years are not long. Variational Bayes does without: it fits a
distribution of the parameters, and its ``lower_bound_`` is a bound of the probability of the data that has
the price of every state in it. Or one allows more states than can be needed, and looks which of them hold any
years.

The data are the numbers of major earthquakes, from 1900 to 2006. Run this file: it prints what it finds, and
saves a picture as ``variational_regimes.png``.
"""

# %%
# Bound and BIC
# -------------
# −BIC / 2 approximates the log evidence, of which the bound is a bound: both are in nats, and higher is better.
# A bound is of one of the K! orders of the states, so that log K! may be added.
from math import lgamma
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import gamma

from emlearn import HMMEM
from emlearn.datasets import load_earthquakes

earthquakes = load_earthquakes()
X, year = earthquakes.data, earthquakes.year
n_states = np.arange(1, 6)
bounds, criterion = [], []
print(" K   log-likelihood   -BIC / 2    bound   bound + log K!   states in use")
for K in n_states:
    plain = HMMEM(K, emission="poisson", ranking="likelihood", random_state=0).fit(X)
    bayes = HMMEM(K, emission="poisson", inference="variational", random_state=0).fit(X)
    criterion.append(-plain.bic(X) / 2)
    bounds.append(bayes.lower_bound_ + lgamma(K + 1))
    print(
        f"{K:2d}   {plain.log_likelihood_:14.2f}   {criterion[-1]:8.2f}   {bayes.lower_bound_:6.2f}"
        f"   {bounds[-1]:14.2f}   {bayes.n_effective_components_:13d}"
    )
by_bic, by_bound = n_states[np.argmax(criterion)], n_states[np.argmax(bounds)]
print(f"\nBIC chooses {by_bic} states, by {criterion[1] - criterion[2]:.1f} nats over three.")
print(f"The bound is highest at {by_bound}, by {bounds[2] - bounds[1]:.1f} nats over two.")

# %%
# Five states are allowed
# -----------------------
# What is not needed stays as the prior has it: rates about the mean of all years, and no years. Such states
# come last. The posterior of a rate is a Gamma distribution, so that it is known how well it is known.
K = n_states[-1]
posterior = bayes.posterior_.emission
years = bayes.predict_proba(X).sum(axis=0)
print("\nstate    years   rate   90 % interval")
for k in range(K):
    low, high = gamma.ppf([0.05, 0.95], posterior.shape[k, 0], scale=1 / posterior.rate[k, 0])
    print(f"{k:5d}   {years[k]:6.2f}   {bayes.rates_[k, 0]:4.1f}   {low:4.1f} to {high:4.1f}")

# %%
# Next year
# ---------
# Rates are not known exactly, and neither is the state: the forecast integrates over both.
forecast = bayes.predict_next(X)
counts = np.arange(61)
ahead = np.exp([bayes.score_samples(np.vstack([X, [[count]]]))[-1] for count in counts])
beyond = counts[np.searchsorted(np.cumsum(ahead), 0.95)]
print(
    f"\n2007: {forecast.mean[0, 0]:.1f} earthquakes, standard deviation "
    f"{forecast.covariance[0, 0, 0] ** 0.5:.1f}; more than {beyond} with a probability of "
    f"{ahead[beyond + 1 :].sum():.1%}"
)

# %%
# The picture
# -----------
# Above, the years in the colours of their states, of the fit that might have used five. Below, on the left,
# what numbers of states are worth; on the right, what is known of the rates. The grey line is the prior, scaled
# to be seen.
colors = ["#0072b2", "#e0a800", "#d55e00"]
used = bayes.n_effective_components_
states = bayes.predict(X)
figure = plt.figure(figsize=(11, 7), layout="constrained")
series, worth, rates = figure.subplot_mosaic([["series", "series"], ["worth", "rates"]]).values()

series.plot(year, X[:, 0], color="0.8", lw=0.8, zorder=0)
for k in range(used):
    mine = states == k
    series.scatter(year[mine], X[mine, 0], s=18, color=colors[k])
    level = np.where(mine, bayes.rates_[k, 0], np.nan)
    series.step(year, level, where="mid", color=colors[k], lw=2.5)
series.set(ylabel="earthquakes in a year", xlim=(year[0] - 1, year[-1] + 1))
series.set_title(f"{K} states were allowed, {used} are used", loc="left")

worth.plot(n_states, bounds, "o-", color="#0072b2")
worth.plot(n_states, criterion, "s--", color="0.45")
worth.annotate(
    "variational bound + log K!", (4, bounds[3]), (-28, 8), textcoords="offset points", color="#0072b2"
)
worth.annotate("−BIC / 2", (4, criterion[3]), (-46, -14), textcoords="offset points", color="0.35")
for values, color in ((bounds, "#0072b2"), (criterion, "0.45")):
    best = int(np.argmax(values))
    worth.scatter(n_states[best], values[best], s=170, facecolor="none", edgecolor=color, lw=1.5)
worth.set(xlabel="number of states", ylabel="nats", xticks=n_states[1:])
worth.set(xlim=(1.6, 5.2), ylim=(criterion[-1] - 5, max(bounds) + 7))
worth.set_title("What a number of states is worth", loc="left")

grid = np.linspace(5, 40, 600)
for k in range(used):
    density = gamma.pdf(grid, posterior.shape[k, 0], scale=1 / posterior.rate[k, 0])
    rates.fill_between(grid, density, color=colors[k], alpha=0.35, lw=0)
    rates.plot(grid, density, color=colors[k])
    top = int(np.argmax(density))
    rates.annotate(
        f"{years[k]:.0f} years", (grid[top], density[top]), (0, 4), textcoords="offset points", ha="center"
    )
prior = gamma.pdf(grid, 1.0, scale=X.mean())
rates.plot(grid, prior * 0.12 / prior.max(), color="0.6", lw=1.2)
rates.annotate("prior", (6, 0.13), color="0.4")
rates.set(xlabel="earthquakes a year", ylabel="density", xlim=(grid[0], grid[-1]), ylim=(0, 0.75))
rates.set_title("What is known of the rates", loc="left")
for ax in (series, worth, rates):
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("variational_regimes.png").resolve()
figure.savefig(picture, dpi=110)
print(f"\nThe picture is {picture}")
