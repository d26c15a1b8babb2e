"""
Customer segments of an online shop
===================================

A shop knows what each customer bought. It does not know which *kind* of customer each one is: nobody has
labelled them low, mid or high spenders. That label is a latent variable, and Expectation-Maximization (EM)
is the tool for it. It goes back and forth between two questions until the answers stop changing:

* E-step: if the segments looked like this, how likely is each customer to belong to each one?
* M-step: if customers belonged to segments with these probabilities, what would the segments look like?

The customers are those of CDNOW, an online shop for CDs: everybody who ordered first in early 1997, with all
their orders until the end of June 1998. Run this file: it prints the segments, and saves a picture of them as
``customer_segments.png``.
"""

# %%
# Three numbers per customer
# --------------------------
# Half of the customers never came back; one order says little about a habit. We take those with two orders or
# more. Orders per month count from the first order to the end of the records, 7 to 18 months for everybody.
# The time from first to last order would not do: it is a matter of days for some who came twice and then
# left, and makes them look like the best customers.
#
# Orders and items are whole numbers, and thousands of customers share the same ones. A normal density may
# shrink around such a tie, and its likelihood grows without end though nothing has been learnt. So each count
# is spread evenly over the interval that rounds to it: 2 orders become a number between 1.5 and 2.5.
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
months = days / 30.4

# Money and rates spread over factors, not sums: a customer spends twice as much, not 50 dollars more. In
# logarithms their distributions are roughly normal, as a Gaussian mixture wants them.
X = np.log(np.column_stack([spend, n_orders / months, n_items / n_orders]))
print(f"{len(came_back):,} customers, of whom {len(X):,} ordered twice or more")

# %%
# Three segments
# --------------
# ``covariance_type="diag"`` says that *within* a segment, spending, visits and basket size are unrelated.
# Whatever connects them in the data must then come from the segments, which makes these levels of business:
# low, mid, high.
from emlearn import GaussianMixtureEM

mixture = GaussianMixtureEM(n_components=3, covariance_type="diag", random_state=0).fit(X)

# The mean of a logarithm belongs to the typical (median) customer of the segment.
by_spend = np.argsort(mixture.means_[:, 0])
names = np.array(["low spender", "mid spender", "high spender"])
print("\nsegment        customers   spends in all   visits a month   items a visit")
for name, k in zip(names, by_spend, strict=True):
    dollars, visits, items = np.exp(mixture.means_[k])
    print(
        f"{name:12s}   {mixture.weights_[k]:8.0%}   {f'${dollars:.0f}':>13s}   {visits:14.2f}   {items:13.1f}"
    )

# What a segment is worth: its share of the money, each customer counted by the probability to belong to it.
resp = mixture.predict_proba(X)
revenue = spend @ resp / spend.sum()
print("share of revenue: " + ", ".join(f"{n} {revenue[k]:.0%}" for n, k in zip(names, by_spend, strict=True)))
print(f"{np.mean(resp.max(axis=1) > 0.8):.0%} of customers are in one segment with a probability above 80 %")

# %%
# Did EM arrive?
# --------------
# The log-likelihood can only rise from one iteration to the next. There may be more than one summit, so starts
# race until few can be left that none has reached.
trace = mixture.lower_bounds_
shown = sorted({*range(0, len(trace), 4), len(trace) - 1})
print("\nlog-likelihood per customer, by iteration")
print("   ".join(f"{i}: {trace[i]:.4f}" for i in shown))
print(
    f"converged: {mixture.converged_}; {mixture.restarts_.n_best} of {len(mixture.restarts_.starts)} starts "
    "reached the best value"
)

# %%
# How many segments?
# ------------------
# BIC weighs fit against number of parameters; smaller is better. It goes on falling here, as it often does
# with many customers: real segments are no perfect bell shapes, and further components describe their
# outlines. What it gains with the third segment it does not gain with any later one, and three are what the
# shop can act on.
sizes = range(1, 7)
models = [
    mixture if K == 3 else GaussianMixtureEM(K, covariance_type="diag", random_state=0).fit(X) for K in sizes
]
bic = np.array([model.bic(X) for model in models])
print("\nsegments      BIC   change")
for K, value, change in zip(sizes, bic, np.diff(bic, prepend=np.nan), strict=True):
    print(f"{K:8d}   {value:6.0f}   " + (f"{change:+6.0f}" if K > 1 else ""))

# %%
# Levels or shapes?
# -----------------
# Full covariance matrices fit far better, and BIC says so. What they find, however, is mostly that spending
# is visits times items times the price of a CD, more closely so for some customers than for others.
# Components then differ in shape and overlap in level: a better density, but no low, mid and high. Which one
# to use depends on the question.
full = GaussianMixtureEM(n_components=3, covariance_type="full", random_state=0).fit(X)
typical = ", ".join(f"${dollars:.0f}" for dollars in np.exp(np.sort(full.means_[:, 0])))
print(f"\nfull covariances, 3 components: BIC {full.bic(X):.0f}, typical spending {typical}")

# %%
# The picture
# -----------
# Points take the colours of the segments in proportion to their probabilities. Ellipses are drawn at one and
# two standard deviations.
import matplotlib.pyplot as plt

from emlearn.display import ConvergenceDisplay, MixtureDisplay


def label_in_plain_units(axis, ticks, text):
    """Ticks of a logarithm at round numbers of what it is the logarithm of."""
    axis.set_ticks(np.log(ticks), labels=[text.format(tick) for tick in ticks])


figure, axes = plt.subplot_mosaic(
    [["visits", "basket"], ["trace", "bic"]], figsize=(11, 8.6), height_ratios=[5, 3], layout="constrained"
)
palette = dict(zip(by_spend, ["#e69f00", "#009e73", "#5b3fa8"], strict=True))
colors = [palette[k] for k in range(3)]
labels = names[np.argsort(by_spend)]
for name, feature in (("visits", 1), ("basket", 2)):
    ax = axes[name]
    MixtureDisplay.from_estimator(
        mixture, X, features=[0, feature], ax=ax, colors=colors, labels=labels, legend=name == "visits"
    )
    ax.set_xlabel("spent in all")
    label_in_plain_units(ax.xaxis, [10, 30, 100, 300, 1000, 3000, 10_000], "${:,}")
axes["visits"].set(ylabel="visits a month", title="The more often they come, the more they spend")
label_in_plain_units(axes["visits"].yaxis, [0.1, 0.2, 0.5, 1, 2, 5, 10], "{:g}")
axes["basket"].set(ylabel="items a visit", title="... and the fuller the basket")
label_in_plain_units(axes["basket"].yaxis, [0.5, 1, 2, 5, 10, 20, 50], "{:g}")

# In the legend from low to high.
handles = [line for line in axes["visits"].get_lines() if not line.get_label().startswith("_")]
axes["visits"].legend(handles=[handles[k] for k in by_spend], loc="upper left", frameon=False)

ConvergenceDisplay.from_estimator(mixture, ax=axes["trace"])
axes["trace"].set_title("EM climbs to the best log-likelihood")
axes["bic"].plot(sizes, bic, "o-", color="0.3")
axes["bic"].plot(3, bic[2], "o", ms=12, mfc="none", mec="#5b3fa8", mew=2)
axes["bic"].set(xlabel="number of segments", ylabel="BIC (smaller is better)")
axes["bic"].set_title("After three, each adds less")
for name in ("trace", "bic"):
    axes[name].yaxis.set_major_formatter("{x:,.0f}")
for ax in axes.values():
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("customer_segments.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
