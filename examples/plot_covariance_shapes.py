"""
Fourteen shapes of clusters
===========================

A cluster of a Gaussian mixture is an ellipsoid: it has a volume, a shape (how long its axes are relative to
one another) and an orientation (where they point). Each of these may be the same for all clusters or each
cluster's own, and axes may be those of the features. That makes fourteen models, from circles of one size to
any ellipse, which mclust names by three letters (Celeux & Govaert, 1995, Pattern Recognition 28; Scrucca et
al., 2016, The R Journal 8). What is shared has to be estimated but once: where it is the truth, the others
pay for parameters that tell nothing.

The rows here are made, so that the truth is known. Run this file: it prints what it finds, and saves a
picture as ``covariance_shapes.png``.
"""

# %%
# Clusters of one shape
# ---------------------
# Three ellipses of the same size and proportions, turned: EEV.
from pathlib import Path

import numpy as np

from emlearn import GaussianMixtureEM

rng = np.random.RandomState(0)
centres = np.array([[-3.0, 0.0], [2.5, 2.0], [2.0, -2.5]])
angles = np.deg2rad([60, -20, 20])
turns = np.array([[[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in angles])
labels = rng.randint(3, size=240)
X = centres[labels] + np.einsum("nij,nj->ni", turns[labels], rng.normal(size=(240, 2)) * [1.5, 0.5])

# %%
# All fourteen
# ------------
# The letters stand for volume, shape and orientation: E for equal, V for varying, and I where the shape is that
# of a sphere, or axes are those of the features. Less BIC is better.
SHAPES = ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]
fits = {}
print("shape   parameters of covariances   log-likelihood      BIC")
for shape in SHAPES:
    fits[shape] = fit = GaussianMixtureEM(3, covariance_type=shape, random_state=0).fit(X)
    of_covariances = fit.n_parameters_ - 2 - 6  # but for weights and means
    print(f"{shape}    {of_covariances:26d} {fit.log_likelihood_:16.1f} {fit.bic(X):8.1f}")
best = min(fits, key=lambda shape: fits[shape].bic(X))
print(f"\nBIC takes {best}; rows are of EEV.")

# %%
# The picture
# -----------
# Ellipses of one and two standard deviations. By rows: circles, axes along the features, one orientation, any.
import matplotlib.pyplot as plt

from emlearn.display import MixtureDisplay

rows = [
    ["EII", "VII"],
    ["EEI", "VEI", "EVI", "VVI"],
    ["EEE", "VEE", "EVE", "VVE"],
    ["EEV", "VEV", "EVV", "VVV"],
]
colours = ["#0072B2", "#D55E00", "#009E73"]  # Okabe and Ito's, told apart by all
figure, axes = plt.subplots(4, 4, figsize=(9, 9.6), sharex=True, sharey=True, layout="constrained")
for ax in axes.flat:
    ax.axis("off")
for row, names in zip(axes, rows, strict=True):
    for ax, shape in zip(row, names, strict=False):
        fit = fits[shape]
        fit.reorder(np.lexsort((fit.means_[:, 1], fit.means_[:, 0] > 0)))  # one cluster, one colour
        MixtureDisplay.from_estimator(fit, X, ax=ax, colors=colours, legend=False)
        weight = "bold" if shape == best else "normal"
        ax.set_title(f"{shape}  BIC {fit.bic(X):.0f}", fontsize=13, fontweight=weight)
        ax.set_aspect("equal")
picture = Path("covariance_shapes.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
