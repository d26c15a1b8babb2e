"""
How many segments does the shop have?
=====================================

Three answers to one question. BIC counts the Gaussian components that are worth their parameters. ICL
counts those that stand apart. A Dirichlet process mixture gets more components than it needs, and a prior
that leaves empty what data do not ask for. Here they disagree, and the reason is more useful than a number.

Run this file: it prints what it finds, and saves a picture as ``how_many_segments.png``.
"""

# %%
# The customers
# -------------
# Those of ``plot_customer_segments.py``, which explains the three features: logarithms of what a customer
# spent, of orders per month, and of items per order.
from pathlib import Path

import numpy as np

from emlearn.datasets import load_cdnow

cdnow = load_cdnow()
came_back = cdnow.data[:, 1] >= 2
spend, n_orders, n_items = cdnow.data[came_back].T

rng = np.random.default_rng(0)
n_orders = n_orders + rng.uniform(-0.5, 0.5, size=len(n_orders))
n_items = n_items + rng.uniform(-0.5, 0.5, size=len(n_items))
days = (np.datetime64("1998-06-30") - cdnow.first_purchase[came_back]).astype(int) + 1
X = np.log(np.column_stack([spend, n_orders / (days / 30.4), n_items / n_orders]))
X = rng.permutation(X)  # so that the first rows are a random sample

# %%
# Three criteria
# --------------
# Covariances are full: a component may have any direction and any width. Three starts for each fit will do:
# with many components hardly two starts end at the same maximum, but what lies between maxima is less than
# what the curves fall or rise.
#
# ICL knows no other clusters than those of the form it is given. With "diag", as in
# ``plot_customer_segments.py``, one oblique cloud is many upright ones, and it falls as BIC does: 74,825,
# 63,504, 59,139 and 55,747 with 1, 3, 6 and 12 components.
from emlearn import BayesianGaussianMixtureEM, GaussianMixtureEM

sizes = np.array([1, 2, 3, 4, 6, 8, 12])
most = 15
quick = {"n_init": 3, "tol": 0.1, "random_state": 0}


def criteria(rows):
    """BIC and ICL for each number of components, smaller is better."""
    fits = [GaussianMixtureEM(n_components=K, **quick).fit(rows) for K in sizes]
    return np.array([[fit.bic(rows), fit.icl(rows)] for fit in fits]).T


def dirichlet_process(rows, concentration=1.0):
    return BayesianGaussianMixtureEM(
        n_components=most,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=concentration,
        **quick,
    ).fit(rows)


def n_found(fit):
    """How many components hold one customer in a hundred, or more."""
    return int(np.sum(fit.weights_ >= 0.01))


bic, icl = criteria(X)
process = dirichlet_process(X)
print(f"{len(X):,} customers: BIC and ICL, both less BIC of one component")
print("components" + "".join(f"{K:8d}" for K in sizes))
for name, values in (("BIC", bic), ("ICL", icl)):
    print(f"{name}       " + "".join(f"{value:+8.0f}" for value in values - bic[0]))
print(f"BIC is smallest with {sizes[bic.argmin()]} components, the most tried; ICL with {sizes[icl.argmin()]}.")
print(f"The Dirichlet process, allowed {most}, has {n_found(process)} of 1 % of the customers or more.")

# %%
# More customers, more components
# -------------------------------
# If the shop had so many segments, a sample of its customers would show the same ones. But BIC and the process
# go on counting: each component describes a bit of the outline of one cloud, and the more customers there
# are, the finer the outline that can be told. It is the resolution that grows, not the number of segments.
#
# The concentration is the prior's say: the larger it is, the more components are expected. Of 300 customers it
# decides, two thousand overrule it.
numbers = np.array([300, 2_000, len(X)])
by_criterion = np.array([sizes[np.argmin(criteria(X[:n]), axis=1)] for n in numbers[:2]])
by_criterion = np.vstack([by_criterion, sizes[[bic.argmin(), icl.argmin()]]])
concentrations = [0.001, 1.0, 1000.0]
by_process = np.array([[n_found(dirichlet_process(X[:n], c)) for c in concentrations] for n in numbers[:2]])
print("\n                        Dirichlet process with concentration")
print("customers   BIC   ICL   " + "   ".join(f"{concentration:9g}" for concentration in concentrations))
for n, counts, by_prior in zip(numbers[:2], by_criterion, by_process, strict=False):
    counted = "   ".join(f"{count:9d}" for count in by_prior)
    print(f"{n:9,d}   {counts[0]:3d}   {counts[1]:3d}   {counted}")
print(f"{numbers[2]:9,d}   {by_criterion[2, 0]:3d}   {by_criterion[2, 1]:3d}   {n_found(process):21d}")

# %%
# A shop without segments
# -----------------------
# One cloud, in which nobody belongs to any group, and which is no ellipse: logarithms of Gamma variables.
cloud = np.log(rng.gamma(2.0, size=(2_000, 3)))
of_cloud = sizes[np.argmin(criteria(cloud), axis=1)]
print(
    f"\nOne skewed cloud of 2,000 rows: BIC counts {of_cloud[0]}, ICL {of_cloud[1]}, "
    f"the Dirichlet process {n_found(dirichlet_process(cloud))}."
)

# %%
# The answer
# ----------
print(
    "\nThe answer: customers are one cloud, and the data have no number of segments.\n"
    "* BIC and the process count Gaussian components that a density needs. A cluster that is not Gaussian\n"
    "  takes several, and more customers take more.\n"
    "* ICL counts components that stand apart, and of those with full covariances none do.\n"
    "* Three segments, as in plot_customer_segments.py, are a decision of those who act on them."
)

# %%
# The picture
# -----------
import matplotlib.pyplot as plt

from emlearn.display import MixtureDisplay

blue, orange, green = "#0072b2", "#d55e00", "#009e73"
figure, axes = plt.subplots(1, 3, figsize=(14.5, 5), layout="constrained", width_ratios=[1.15, 1, 1])

ax = axes[0]
held = slice(n_found(process))  # components come largest first
along = process.means_[held, 0].argsort().argsort()  # colours run along the cloud
MixtureDisplay(
    X=X[:, :2],
    resp=process.predict_proba(X)[:, held],
    weights=process.weights_[held],
    means=process.means_[held, :2],
    covariances=process.covariances_[held, :2, :2],
    feature_names=["spend", "visits"],
).plot(
    ax=ax,
    n_sd=(1,),
    colors=plt.get_cmap("turbo")(np.linspace(0.05, 0.95, len(along)))[along, :3],
    legend=False,
    scatter_kwargs={"alpha": 0.2},
    line_kwargs={"linewidth": 1.6, "linestyle": "-"},
)
ax.set(
    title=f"{len(X):,} customers are one cloud;\n{n_found(process)} components of a Dirichlet process share it",
    xlabel="spent in all",
    ylabel="visits a month",
)
for axis, ticks, text in (
    (ax.xaxis, [10, 100, 1000, 10_000], "${:,}"),
    (ax.yaxis, [0.1, 0.3, 1, 3, 10], "{:g}"),
):
    axis.set_ticks(np.log(ticks), labels=[text.format(tick) for tick in ticks])

ax = axes[1]
for name, meaning, values, color in (
    ("BIC", "the best density", bic, blue),
    ("ICL", "groups that are apart", icl, orange),
):
    change = (values - bic[0]) / 1000
    ax.plot(sizes, change, "o-", color=color, markersize=4)
    ax.plot(sizes[change.argmin()], change.min(), "o", ms=12, mfc="none", mec=color, mew=2)
    middle, above = (sizes[4] - 0.3, change[4]), name == "BIC"
    place = {"xytext": (0, 12 if above else -14), "textcoords": "offset points"}
    style = {"color": color, "weight": "bold", "va": "bottom" if above else "top"}
    ax.annotate(f"{name}: {meaning}", middle, **place, **style)
ax.axhline(0, color="0.8", linewidth=1, zorder=0)
ax.set(
    title="On all customers BIC asks for ever more\ncomponents, and ICL for one (circles)",
    xlabel="components",
    ylabel="criterion less that of one component, in thousands\n(smaller is better)",
)

ax = axes[2]
counts = np.append(by_process[:, 1], n_found(process))
low, high = by_process.min(axis=1), by_process.max(axis=1)
ax.fill_between(
    numbers[:2],
    low,
    high,
    color=green,
    alpha=0.2,
    linewidth=0,
    label="the same, with concentration 0.001 to 1000",
)
ax.plot(numbers, counts, "o-", color=green, label="Dirichlet process, concentration 1")
ax.plot(numbers, by_criterion[:, 0], "o-", color=blue, label="BIC (12 are the most tried)")
ax.plot(numbers, by_criterion[:, 1], "o-", color=orange, label="ICL")
ax.set(
    title="The more customers, the more components:\nthey describe a shape, and are no segments",
    xlabel="customers in the sample",
    ylabel="components found",
    xscale="log",
    ylim=(0, sizes[-1] + 5),
)
ax.set_xticks(numbers, labels=[f"{n:,}" for n in numbers])
ax.minorticks_off()
order = [1, 0, 2, 3]
handles, labels = ax.get_legend_handles_labels()
ax.legend([handles[i] for i in order], [labels[i] for i in order], loc="upper left", frameon=False)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("how_many_segments.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
