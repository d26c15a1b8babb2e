"""
Experts for a wind turbine
==========================

A wind turbine stands idle in little wind, then its power rises with the wind until it reaches the generator's
limit. A mixture of experts has a linear regression for each of the three, and a gate that says how probable
each is at a given wind. Neither knows where one ends and the next begins: EM finds both.

The data are made here, so that we know what should come out. When the turbine starts and when it is held at its
limit is not sharp, as gusts differ, and cold air, which is dense, gives more power. Run this file: it prints
what it finds, and saves a picture as ``experts.png``.
"""

# %%
# The data
# --------
from pathlib import Path

import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
n = 400
X = pd.DataFrame({"wind": rng.uniform(1, 18, n), "temperature": rng.normal(10, 8, n)})
wind, temperature = X.to_numpy().T
starts = rng.logistic(4.0, 0.3, n)  # m/s at which it starts, and at which it reaches its limit
limit = rng.logistic(12.0, 0.3, n)
regime = (wind > starts).astype(int) + (wind > limit)
power = np.choose(regime, [0.0 * wind, 220 * (wind - 4) + 100 - 6 * (temperature - 10), 2000 + 0 * wind])  # kW
y = pd.Series(power + rng.normal(size=n) * np.array([10, 40, 20])[regime], name="power, kW")

# %%
# How many experts?
# -----------------
# BIC weighs fit against number of parameters; smaller is better. The gate sees the wind alone. With four
# experts hardly two starts end at the same maximum, and a warning says so: there is one too many. The last
# column of the table shows that, so the warning is not shown here.
import warnings

from emlearn import MixtureOfExperts

warnings.filterwarnings("ignore", message=".* starts ended at .* different maxima")
fits = {}
print("experts   parameters   log-likelihood      BIC   starts that reached the best value")
for K in (1, 2, 3, 4):
    fits[K] = model = MixtureOfExperts(K, gate_features="wind", random_state=0).fit(X, y)
    bic, restarts = model.bic(X, y), model.restarts_
    line = f"{K:7d}   {model.n_parameters_:10d}   {model.log_likelihood_:14.1f}   {bic:6.1f}"
    print(f"{line}   {restarts.n_best} of {len(restarts.starts)}")
chosen = min(fits, key=lambda K: fits[K].bic(X, y))
experts = fits[chosen]

# %%
# What are they like?
# -------------------
# Two experts are equally probable where their lines in the gate cross.
order = np.argsort(experts.gate_coef_[:, 0])  # from little wind to much
names = dict(zip(order, ["idle", "rising", "at the limit"], strict=True))
print("\nexpert         per m/s   per °C   noise (s.d.), kW   share of hours")
for k in order:
    slopes = f"{experts.coef_[k, 0]:7.1f}   {experts.coef_[k, 1]:6.1f}"
    print(f"{names[k]:12s}   {slopes}   {experts.sigma_[k]:16.0f}   {experts.weights_[k]:14.0%}")
steps, jumps = np.diff(experts.gate_coef_[order, 0]), np.diff(experts.gate_intercept_[order])
print("it starts at {:.1f} m/s and reaches the limit at {:.1f} m/s".format(*-jumps / steps))

# %%
# Against other regressions
# -------------------------
# R² and intervals of hours that were not in the fit, in ten folds. A forest needs no regimes, but many rows to
# follow a slope in steps, and it has no intervals.
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold, cross_val_score

folds = KFold(10, shuffle=True, random_state=0)
methods = {
    "MixtureOfExperts": MixtureOfExperts(chosen, gate_features="wind", random_state=0),
    "RandomForestRegressor": RandomForestRegressor(min_samples_leaf=3, random_state=0),
    "LinearRegression": LinearRegression(),
}
print("\nmethod                   R², mean of the folds ± s.e.")
for name, method in methods.items():
    scores = cross_val_score(method, X, y, cv=folds)
    print(f"{name:21s}   {scores.mean():6.3f} ± {scores.std(ddof=1) / np.sqrt(len(scores)):.3f}")

inside = []
for train, test in folds.split(X):
    model = methods["MixtureOfExperts"].fit(X.iloc[train], y.iloc[train])
    lower, upper = model.predict_interval(X.iloc[test]).T
    inside.append((lower <= y.iloc[test]) & (y.iloc[test] <= upper))
print(f"95 % intervals of the experts hold {np.concatenate(inside).mean():.0%} of held-out hours")

# %%
# The picture
# -----------
# Power along the wind, at the mean temperature, while each point has a temperature of its own; below, the gate.
# The band is where 95 % of hours should be. It is wide where the turbine may be in either of two regimes.
from emlearn.display import RegressionMixtureDisplay

display = RegressionMixtureDisplay.from_estimator(
    experts, X, y, feature="wind", interval=0.95, labels=[names[k] for k in range(chosen)]
)
display.gate_ax_.set_xlabel("wind, m/s")
display.figure_.set_size_inches(8, 7)
picture = Path("experts.png").resolve()
display.figure_.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
