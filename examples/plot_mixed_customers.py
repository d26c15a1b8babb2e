"""
Customers in columns of every kind
==================================

What a shop knows of a customer is seldom all numbers. Money is, but orders are counts, and when somebody was
last seen may be a category. `MixtureEM` takes each column as what it is: within a segment money is normal in
its logarithm, counts are negative binomial, and a category has its probabilities.

The customers are those of CDNOW, an online shop for CDs: everybody who ordered first in early 1997, with all
their orders until the end of June 1998. Half of them never came back, so that no Gaussian fits the counts,
however they are transformed. Run this file: it prints the segments, and saves a picture of them as
``mixed_customers.png``.
"""

# %%
# Four columns
# ------------
# What an order costs on average, how many orders came after the first, how many more CDs than orders there
# were, and when the last order was.
from pathlib import Path

import numpy as np
import pandas as pd

from emlearn.datasets import load_cdnow

cdnow = load_cdnow(as_frame=True).frame
days_ago = (pd.Timestamp("1998-06-30") - cdnow.last_purchase).dt.days
customers = pd.DataFrame(
    {
        "log dollars": np.log(cdnow.total_spend / cdnow.n_orders),
        "later orders": cdnow.n_orders - 1,
        "extra CDs": cdnow.n_items - cdnow.n_orders,
        "last seen": pd.cut(days_ago, [-1, 90, 365, 600], labels=["spring 1998", "before", "until June 1997"]),
    }
)

# %%
# Four segments
# -------------
# Columns with the same word belong together. Names of categories are kept.
from emlearn import MixtureEM

emission = {
    "log dollars": "gaussian",
    ("later orders", "extra CDs"): "negative_binomial",
    "last seen": "categorical",
}
model = MixtureEM(4, emission=emission, n_init=12, random_state=0).fit(customers)
money, counts, seen = model.emission_params_.values()
resp = model.predict_proba(customers)
revenue = cdnow.total_spend.to_numpy() @ resp / cdnow.total_spend.sum()

# In the order of what they are worth.
order = np.argsort(revenue / model.weights_)
model.reorder(order)
money, counts, seen = model.emission_params_.values()
resp, revenue = resp[:, order], revenue[order]
kinds = model.categories_[0]
names = ["one CD", "one large order", "came back", "regulars"]
print(
    "segment           customers   revenue   dollars an order   later orders   extra CDs   " + "   ".join(kinds)
)
for k in range(4):
    print(
        f"{names[k]:15s}   {model.weights_[k]:9.0%}   {revenue[k]:7.0%}   {np.exp(money.means[k, 0]):16.2f}   "
        f"{counts.rates[k, 0]:12.2f}   {counts.rates[k, 1]:9.2f}   "
        + "   ".join(f"{p:{len(name)}.0%}" for name, p in zip(kinds, seen.probabilities[0][k], strict=True))
    )
print(f"{np.mean(resp.max(axis=1) > 0.8):.0%} of customers are in one segment with a probability above 80 %")

# %%
# What one column tells of another
# --------------------------------
# A mixture is a distribution of all columns, so that any of them can be asked for given any others. What a
# customer pays for an order tells how often one like this comes again.
dollars = np.geomspace(8, 200, 60)
given = model.conditional(np.log(dollars)[:, None], columns=["log dollars"])
later = given.mean()[:, 0]
still_here = given.proba(3)[:, list(kinds).index("spring 1998")]
print("\ndollars an order   later orders   ordered in spring 1998")
for i in range(0, 60, 12):
    print(f"{dollars[i]:16.0f}   {later[i]:12.1f}   {still_here[i]:22.0%}")

# %%
# The picture
# -----------
import matplotlib.pyplot as plt
from scipy import stats

colors = ["#9aa0a6", "#e69f00", "#009e73", "#5b3fa8"]
figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")

ax = axes[0, 0]
bins = np.linspace(1.4, 5.5, 80)
ax.hist(customers["log dollars"], bins=bins, density=True, color="0.9")
x = np.linspace(1.4, 5.5, 600)
for k in range(4):
    density = stats.norm(money.means[k, 0], np.sqrt(money.covariances[k, 0, 0])).pdf(x)
    ax.plot(x, model.weights_[k] * density, color=colors[k], lw=2, label=names[k])
ax.set_xticks(np.log([5, 10, 20, 50, 100, 200]), labels=["$5", "$10", "$20", "$50", "$100", "$200"])
ax.set(title="What an order costs", ylabel="density", xlabel="dollars an order")
ax.legend(frameon=False)

ax = axes[0, 1]
n = np.arange(16)
for k in range(4):
    size = 1 / counts.dispersions[k, 0]
    chance = stats.nbinom(size, size / (size + counts.rates[k, 0])).pmf(n)
    ax.plot(n, chance, "o-", color=colors[k], ms=4)
ax.set(title="How often they come back", xlabel="orders after the first", ylabel="share of the segment")
ax.set_ylim(0, 1)

ax = axes[1, 0]
left = np.zeros(4)
shades = ["#2b6cb0", "#90b4d8", "#e2e8f0"]
for name, shade, share in zip(kinds, shades, seen.probabilities[0].T, strict=True):
    ax.barh(range(4), share, left=left, color=shade, label=name)
    left += share
labels = [f"{names[k]}\n{model.weights_[k]:.0%} of customers\n{revenue[k]:.0%} of revenue" for k in range(4)]
ax.set_yticks(range(4), labels=labels)
ax.set(title="When they were last seen", xlabel="share of the segment", xlim=(0, 1), ylim=(-0.5, 4.3))
ax.legend(frameon=False, ncols=3, loc="upper center")

ax = axes[1, 1]
ax.plot(dollars, later, color="0.2", lw=2)
ax.set_xscale("log")
ax.set_xticks([10, 20, 50, 100, 200], labels=["$10", "$20", "$50", "$100", "$200"])
ax.minorticks_off()
ax.set(title="Expected later orders, given the price of an order", xlabel="dollars an order", ylabel="orders")
ax.set_ylim(bottom=0)
for ax in axes.flat:
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("mixed_customers.png").resolve()
figure.savefig(picture, dpi=110)
print(f"\nThe picture is {picture}")
