"""
Gaps in air quality
===================

In the summer of 1973 ozone was measured in New York, day by day, but not on every day: 37 of 153 values are
missing, and 7 of solar radiation. What was the ozone on those days, how sure can one be of it, and what does it
do to an analysis if gaps are filled?

``EMImputer`` fits a normal distribution to all features jointly, by maximum likelihood from the incomplete
rows, and imputes what is missing from what the same day has. Run this file: it prints what it finds, and saves
a picture as ``imputation.png``.
"""

# %%
# What is missing?
# ----------------
# Before anything is filled, look at the gaps. Little's test asks whether the days with gaps are like the
# others.
from datetime import date
from pathlib import Path

import numpy as np

from emlearn import EMImputer, little_mcar_test, missing_patterns, overimpute, pool
from emlearn.datasets import load_airquality

airquality = load_airquality(as_frame=True).frame
X = airquality[["Ozone", "Solar.R", "Wind", "Temp", "Month"]].astype(float)
print(missing_patterns(X))
test = little_mcar_test(X)
print(f"\nLittle's test: chi2({test.df}) = {test.statistic:.1f}, p = {test.pvalue:.4f}")
in_june = (airquality["Ozone"].isna() & (airquality["Month"] == 6)).sum()
print(f"{in_june} of the {airquality['Ozone'].isna().sum()} gaps of ozone are in June")

# So days with gaps should not simply be dropped. Imputation asks for less than the test: that gaps depend on
# nothing but what is there, and the month is always there. For this the month is among the features. That gaps
# have nothing to do with the ozone of the day itself, no test can tell.

# %%
# Ozone or its logarithm?
# -----------------------
# Ozone cannot be negative, and varies most where it is high. Two answers: the normal distribution of ozone
# itself with the imputed values kept above 0 (``min_value=0``), or that of its logarithm. To compare them,
# every value that was observed is hidden once and imputed: its 95 % interval should hold it, at any level of
# ozone.
in_ppb = overimpute(EMImputer(min_value=0), X, n_folds=10, random_state=0)
X["Ozone"] = np.log(X["Ozone"])
in_logs = overimpute(EMImputer(), X, n_folds=10, random_state=0)

print("\n                rmse, ppb   coverage, from the quarter of days with the least ozone to that with most")
for name, result, back in (("ozone", in_ppb, np.asarray), ("log of ozone", in_logs, np.exp)):
    ozone = result.columns == 0
    truth, guess = back(result.observed[ozone]), back(result.imputed[ozone])
    rmse = np.sqrt(np.mean((guess - truth) ** 2))
    quarters = np.array_split(result.inside[ozone][np.argsort(truth)], 4)
    coverages = "   ".join(f"{quarter.mean():4.0%}" for quarter in quarters)
    print(f"{name:12s}   {rmse:10.1f}   {coverages}")

# Both cover about 95 % of all days. But intervals for ozone itself are as wide at 10 ppb as at 100, but for the
# limit at 0: too wide on days with little of it and too narrow on the worst. We take the logarithm.

# %%
# Imputation
# ----------
# The exponential of an imputed logarithm is the median of ozone on that day. Limits of intervals may be
# transformed like that too.
imputer = EMImputer(random_state=0).fit(X)
gone = X["Ozone"].isna().to_numpy()
days = [date(1973, *when) for when in airquality[["Month", "Day"]].to_numpy()]
median, (lower, upper) = imputer.transform(X)[:, 0], imputer.predict_interval(X)
median, lower, upper = np.exp(median), np.exp(lower[:, 0]), np.exp(upper[:, 0])
print(f"\nconverged: {imputer.converged_}, after {imputer.n_iter_} iterations")
print(f"largest share of information that is missing: {imputer.fraction_missing_information_:.0%}")
print("\nday         ozone, ppb   95 % interval")
for i in np.flatnonzero(gone)[:5]:
    print(f"{days[i]:%d %B}   {median[i]:13.0f}   {lower[i]:5.0f} to {upper[i]:.0f}")

# %%
# The mean ozone of such a summer
# -------------------------------
# Imputed values are no measurements. To count them as such makes standard errors too small, and medians make
# the mean too small as well. ``sample`` completes the data many times, each time with other draws; the analysis
# is done on each, and ``pool`` puts together what they say. (A simple standard error takes days to be
# independent. Neighbouring days are alike, so all three are optimistic.)
ozone = airquality["Ozone"].dropna()
filled = np.where(gone, median, airquality["Ozone"])
completed = [np.exp(Z[:, 0]) for Z in imputer.sample(X, 50)]


def standard_error(values):
    return np.std(values, ddof=1) / np.sqrt(len(values))


pooled = pool([z.mean() for z in completed], [standard_error(z) for z in completed], df_complete=len(X) - 1)
print("\nmean ozone, ppb")
print(f"days without gaps           {ozone.mean():.1f} ± {standard_error(ozone):.2f}")
print(f"imputed once, by medians    {filled.mean():.1f} ± {standard_error(filled):.2f}")
print(f"50 imputations, pooled      {pooled.estimate:.1f} ± {pooled.standard_error:.2f}", end="")
print(f"   ({pooled.fraction_missing_information:.0%} of the information is missing)")

# %%
# First step of a pipeline
# ------------------------
# How well does a ridge regression predict ozone from sunshine, wind, temperature and month, if a third of these
# measurements is missing, at fit and at prediction? Only days with ozone count. Gaps are made at random
# (``ampute``), ten times; each time all methods see the same gaps and the same five folds. A day's error is the
# mean over the ten times, so that standard errors are of 116 days, not of 1,160 predictions that repeat one
# another, and differences between methods are taken day by day.
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emlearn import ampute

y = X["Ozone"][~gone].to_numpy()
features = X.loc[~gone, ["Solar.R", "Wind", "Temp", "Month"]]
measured = ["Solar.R", "Wind", "Temp"]
with_gaps = [ampute(features, proportion=1 / 3, columns=measured, random_state=r) for r in range(10)]
folds = [KFold(5, shuffle=True, random_state=r) for r in range(10)]

methods = {
    "mean": [SimpleImputer()],
    "5 neighbours": [StandardScaler(), KNNImputer()],
    "IterativeImputer": [StandardScaler(), IterativeImputer(max_iter=100)],
    "EMImputer": [EMImputer()],
    "EMImputer, K = 2": [EMImputer(n_components=2, n_init=5, random_state=0)],
}


def error_of_days(steps, tables):
    """Squared error of each day's logarithm of ozone, the mean over tables, (n,)."""
    pipeline = make_pipeline(*steps, StandardScaler(), Ridge())
    errors = [cross_val_predict(pipeline, Z, y, cv=cv) - y for Z, cv in zip(tables, folds, strict=True)]
    return np.mean(np.square(errors), axis=0)


errors = {name: error_of_days(steps, with_gaps) for name, steps in methods.items()}
complete = error_of_days(methods["EMImputer"], [features] * 10)
print("\nsquared error of log ozone   mean ± s.e.       minus that of EMImputer")
for name, error in errors.items():
    line = f"{name:26s}   {error.mean():.3f} ± {standard_error(error):.3f}"
    difference = error - errors["EMImputer"]
    if difference.any():
        line += f"   {difference.mean():+.3f} ± {standard_error(difference):.3f}"
    print(line)
print(f"{'no gaps made':26s}   {complete.mean():.3f} ± {standard_error(complete):.3f}")

# Gaps cost much, the choice of imputer little. EMImputer and IterativeImputer fit the same linear relations
# and agree. That neighbours and a mixture of two components come out ahead has a reason, though 116 days hardly
# prove it: it is warm in July, cool in May and September, and no line through the months says so.
least, most = (f(error.mean() for error in errors.values()) - complete.mean() for f in (min, max))
print(f"gaps cost {least:.2f} with the best method and {most:.2f} with the worst: a small difference")

# %%
# Tuned as a whole
# ----------------
# The imputer's parameters are chosen like any others, by what they do to predictions. (The error of the winner
# is a little optimistic, since it is the best of many.)
pipeline = make_pipeline(EMImputer(n_init=5, random_state=0), StandardScaler(), Ridge())
grid = {
    "emimputer__n_components": [1, 2],
    "emimputer__ridge": [1, 10],
    "ridge__alpha": [0.1, 1, 10, 100],
}
search = GridSearchCV(pipeline, grid, cv=folds[0], scoring="neg_mean_squared_error")
search.fit(with_gaps[0], y)
print("\nbest of the grid: " + ", ".join(f"{name} = {value}" for name, value in search.best_params_.items()))
scores = -search.cv_results_["mean_test_score"]
print(f"squared error {scores.min():.3f}, of the worst {scores.max():.3f}")

# %%
# The picture
# -----------
# What is missing; ozone over the summer; overimputation of ozone, where intervals that hold the hidden value
# cross the diagonal; and the errors of predictions.
import matplotlib.pyplot as plt
from matplotlib.dates import DateFormatter, MonthLocator

from emlearn.display import MissingPatternDisplay, OverimputeDisplay

BLUE, VERMILION = "#0072b2", "#d55e00"
figure, axes = plt.subplot_mosaic(
    [["patterns"] * 2 + ["summer"] * 4, ["hidden"] * 3 + ["errors"] * 3],
    figsize=(13, 8.6),
    layout="constrained",
)
MissingPatternDisplay.from_data(X, ax=axes["patterns"])
axes["patterns"].set_title("What is missing together", pad=10)

ax = axes["summer"]
there = ~gone
days = np.array(days)
ax.plot(days[there], airquality["Ozone"][there], "o", color=BLUE, ms=4, label="observed")
ax.vlines(days[gone], lower[gone], upper[gone], color=VERMILION, lw=1, alpha=0.6)
ax.plot(days[gone], median[gone], "D", color=VERMILION, ms=4.5, label="imputed, with 95 % interval")
ax.set(yscale="log", ylabel="ozone, ppb", title="Ozone over the summer: most gaps are in June")
ax.set_yticks([1, 3, 10, 30, 100, 300], labels=["1", "3", "10", "30", "100", "300"])
ax.xaxis.set_major_locator(MonthLocator())
ax.xaxis.set_major_formatter(DateFormatter("%B"))
ax.legend(loc="lower right", frameon=False)

ax = axes["hidden"]
OverimputeDisplay.from_overimputed(in_logs, feature="Ozone", axes=ax)
ax.get_legend().set(loc="lower right", frame_on=False)
ticks = [1, 3, 10, 30, 100, 300]
for axis in (ax.xaxis, ax.yaxis):
    axis.set_ticks(np.log(ticks), labels=ticks)
ax.set(xlabel="observed ozone, ppb", ylabel="imputed while hidden, ppb")
held = in_logs.inside[in_logs.columns == 0].mean()
ax.set_title(f"Observed values hidden: {held:.0%} are in their 95 % intervals".replace("%", " %", 1))

ax = axes["errors"]
names = [*errors, "no gaps made"]
for place, error in enumerate([*errors.values(), complete]):
    color = BLUE if place == len(errors) else VERMILION if "EM" in names[place] else "0.35"
    ax.errorbar(error.mean(), place, xerr=standard_error(error), fmt="o", color=color, capsize=3)
    difference = error - errors["EMImputer"]
    text = f"{difference.mean():+.3f} ± {standard_error(difference):.3f}" if difference.any() else "0"
    ax.annotate(text.replace("-", "−"), (0.61, place), ha="right", va="center")
ax.annotate("minus that\nof EMImputer", (0.61, -0.4), ha="right", va="bottom")
ax.set_yticks(range(len(names)), labels=names)
ax.set(ylim=(5.5, -1.2), xlim=(0.2, 0.62), xticks=[0.2, 0.3, 0.4, 0.5])
ax.set(xlabel="squared error of log ozone, ± 1 s.e.", title="Predictions, a third of the measurements missing")
for name in ("summer", "hidden", "errors"):
    axes[name].spines[["top", "right"]].set_visible(False)
picture = Path("imputation.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
