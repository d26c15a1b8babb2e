"""
Regimes of earthquakes
======================

How many major earthquakes does a year have? About 19, but quiet years follow quiet years, and violent years
follow violent ones. A hidden Markov model says: the Earth is in one of a few states, stays there for a while,
and in each state the count of a year is Poisson with a rate of its own. The states are not observed. EM finds
their rates, how long they last, and which year was probably in which.

The counts are of earthquakes of magnitude 7 or more, from 1900 to 2006. Zucchini, MacDonald and Langrock fit
the same models to them in their book "Hidden Markov Models for Time Series", so that we can compare. Run this
file: it prints what it finds, and saves a picture as ``regimes.png``.
"""

# %%
# How many states?
# ----------------
# BIC weighs fit against number of parameters; smaller is better. The first year's state is estimated
# (``startprob="free"``), or has the distribution that the chain keeps in the long run ("stationary"), as in the
# book.
from pathlib import Path

import numpy as np

from emlearn import HMMEM
from emlearn.datasets import load_earthquakes

earthquakes = load_earthquakes()
X, year = earthquakes.data, earthquakes.year

published = [-391.9189, -342.3183, -329.4603, -327.8316]  # by the book, with a stationary start
fits = {}
print("start        K   parameters   log-likelihood   published      AIC      BIC")
for startprob in ("free", "stationary"):
    for K in (1, 2, 3, 4):
        model = HMMEM(K, emission="poisson", startprob=startprob, random_state=0).fit(X)
        fits[startprob, K] = model
        in_book = f"{published[K - 1]:.4f}" if startprob == "stationary" else ""
        print(
            f"{startprob:10s}   {K}   {model.n_parameters_:10d}   {model.log_likelihood_:14.4f}   {in_book:>9s}"
            f"   {model.aic(X):6.1f}   {model.bic(X):6.1f}"
        )

# A free start costs K - 1 parameters, and there is but one first year to learn them from: BIC prefers the
# stationary start. With free starts alone it would choose two states, by a small margin.
chosen = min(fits, key=lambda key: fits[key].bic(X))
model = fits[chosen]
print(f"\nBIC chooses {chosen[1]} states with a {chosen[0]} start")
print(
    f"converged: {model.converged_}; {model.restarts_.n_best} of {len(model.restarts_.starts)} starts reached "
    "the best value"
)

# %%
# What are they like?
# -------------------
# A state that is left with probability p in a year lasts 1 / p years on average.
names = ["calm", "middling", "violent"]
print("\nstate      earthquakes a year   lasts, years   share of years in the long run")
lasts = 1 / (1 - np.diag(model.transmat_))
for name, rate, years, share in zip(
    names, model.rates_[:, 0], lasts, model.stationary_distribution_, strict=True
):
    print(f"{name:8s}   {rate:18.1f}   {years:12.1f}   {share:30.0%}")

# %%
# Which year was in which state?
# ------------------------------
# The most probable path of all states (Viterbi), as runs of years.
states, log_joint = model.decode(X)
begins = np.flatnonzero(np.diff(states, prepend=-1))
ends = np.append(begins[1:], len(states)) - 1
print("\nyears       state      mean count")
for begin, end in zip(begins, ends, strict=True):
    mean = X[begin : end + 1].mean()
    print(f"{year[begin]}-{year[end]}   {names[states[begin]]:8s}   {mean:10.1f}")

# %%
# The next ten years
# ------------------
# A forecast starts from the probabilities of the last year's states and follows the chain. It tends to the
# long-run mean. The standard deviation has two parts: Poisson counts vary within a state, and it is not known
# in which state a year will be.
forecast = model.predict_next(X, 10)
sd = np.sqrt(forecast.covariance[:, 0, 0])
future = year[-1] + 1 + np.arange(10)
print("\nyear   " + "   ".join(f"{name:>8s}" for name in names) + "   mean     sd")
for when, proba, mean, spread in zip(future, forecast.state_proba, forecast.mean[:, 0], sd, strict=True):
    print(f"{when}   " + "   ".join(f"{p:8.3f}" for p in proba) + f"   {mean:4.1f}   {spread:4.1f}")

# %%
# The picture
# -----------
# Points take the colours of their states; the step line is the mean of the state. Below are the probabilities
# of the states given all years. To the right of the dotted line, the forecast.
from emlearn.display import HMMDisplay

colors = ["#0072b2", "#e0a800", "#d55e00"]
display = HMMDisplay.from_estimator(model, X, times=year, labels=names, colors=colors)
counts, proba, _ = display.axes_
display.figure_.set_size_inches(12, 5.5)

mean = forecast.mean[:, 0]
counts.fill_between(future, mean - sd, mean + sd, color="0.85", lw=0)
counts.plot(future, mean, color="0.2", ls="--", lw=1.5)
style = {"textcoords": "offset points", "ha": "center", "fontsize": 9}
counts.annotate("forecast:\nmean\n± 1 sd", (future[5], mean[5] + sd[5]), (0, 10), **style)
proba.stackplot(future, forecast.state_proba.T, colors=colors, lw=0, alpha=0.45)
for ax in (counts, proba):
    ax.axvline(year[-1] + 0.5, color="0.2", ls=":", lw=1)
    ax.set_xlim(year[0] - 1, future[-1] + 1)
    ax.spines[["top", "right"]].set_visible(False)
counts.set_ylabel("major earthquakes in a year")
proba.set_xlabel("year")
picture = Path("regimes.png").resolve()
display.figure_.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
