"""
Which fit is returned
=====================

The likelihood of a mixture rewards components that are nearly singular, if only because a few rows
happen to lie in a line. Fits of different starts are therefore ranked by their evidence: the log-
likelihood less a handicap for each component, what it may owe to luck. A component that many rows
support earns more than its handicap; one of a few rows does not.

Run this file: it prints what it finds, and saves a picture as ``which_fit.png``.
"""

# %%
# Sixty rows, three clusters
# --------------------------
# The same starts, ranked by the likelihood and by the evidence.
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from emlearn import GaussianMixtureEM

rng = np.random.RandomState(7)
cluster = np.repeat([0, 1, 2], 20)
X = np.array([[0, 0], [3.2, 0.5], [1.2, 3.2]])[cluster] + 0.8 * rng.normal(size=(60, 2))

fits, bests = {}, {}
print("ranked by    log-likelihood   evidence   rows of smallest component   its least variance   ARI   unseen")
for ranking in ("likelihood", "evidence"):
    fit = fits[ranking] = GaussianMixtureEM(n_components=3, ranking=ranking, random_state=0).fit(X)
    best = bests[ranking] = next(start for start in fit.restarts_.starts if start.status == "best")
    least = np.linalg.eigvalsh(fit.covariances_[-1])[0]  # components come largest first
    print(
        f"{ranking:10s}   {best.log_likelihood:14.1f}   {best.evidence:8.1f}   {60 * fit.weights_[-1]:26.1f}   "
        f"{least:18.3f}   {adjusted_rand_score(cluster, fit.predict(X)):.2f}   {fit.restarts_.unseen:5.0%}"
    )

# %%
# The handicap
# ------------
# Of a component in two features that is like the others in one direction, and thin in the other: how unlike
# the others it is, but no more than its parameters can be worth by luck to so many rows. Each row that lies
# in it earns half the logarithm by which it is thinner.
d = 2
thinness = np.logspace(0, -9, 400)  # least eigenvalue of the covariance, where those of the others have 1
unlike = 0.5 * (thinness + 1 / thinness) - 1

# %%
# The picture
# -----------
# On the left, a component is taken where what its rows earn is above what they pay.
import matplotlib.pyplot as plt

from emlearn.display import MixtureDisplay

figure, axes = plt.subplots(1, 3, figsize=(14, 4.6), layout="constrained")
ax = axes[0]
for rows, shade, height in ((5, 0.35, 27), (10, 0.6, 48), (30, 1.0, 66)):
    earned = rows * 0.5 * np.log(1 / thinness)
    paid = np.minimum(unlike, 3 * (d + 2) * np.log(1 + rows))
    ax.plot(thinness, earned, color="0.2", alpha=shade, linewidth=1.5)
    ax.plot(thinness, paid, color="C3", alpha=shade, linewidth=2)
    at = np.searchsorted(earned, height)
    style = {"xytext": (6, -2), "textcoords": "offset points", "va": "top", "color": "0.2", "alpha": shade}
    ax.annotate(f"{rows} rows earn", (thinness[at], height), **style)
    ax.text(1.5e-9, paid[-1] + 0.8, f"{rows} rows pay", color="C3", ha="right", va="bottom", weight="bold")
ax.set(
    xscale="log",
    xlim=(1, 1e-9),
    ylim=(0, 80),
    xlabel="least eigenvalue, relative to the others",
    ylabel="nats",
    title=f"What a thin component pays and earns\n({d} features)",
)
for ax, (ranking, fit) in zip(axes[1:], fits.items(), strict=True):
    MixtureDisplay.from_estimator(fit, X, ax=ax, n_sd=(2,))
    ax.get_legend().remove()
    values = f"log-likelihood {bests[ranking].log_likelihood:.1f}, evidence {bests[ranking].evidence:.1f}"
    ax.set(title=f"Ranked by {ranking}\n{values.replace(' -', ' −')}", xlabel="", ylabel="")
axes[2].sharex(axes[1])
axes[2].sharey(axes[1])
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("which_fit.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
