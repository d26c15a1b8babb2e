"""
Two ways of hearing
===================

A musician tunes a tone to the octave above another, whose overtones have been stretched. Theory says that one
either knows an octave by heart (interval memory: the ratio is 2, whatever the overtones) or compares with the
first overtone (partial matching: the ratio is that of the overtones). Which of the two was at work in a trial
is hidden. A mixture of linear regressions finds both lines, and says for each trial which it probably was.

Run this file: it prints what it finds, and saves a picture as ``tone_perception.png``.
"""

# %%
# One line, two lines, two lines with a gate
# ------------------------------------------
# In a mixture every trial has the same prior weights; in a mixture of experts they depend on the stretch ratio.
# BIC weighs fit against number of parameters; smaller is better.
from pathlib import Path

import numpy as np

from emlearn import MixtureOfExperts, MixtureOfLinearRegressions
from emlearn.datasets import load_tone_perception

tones = load_tone_perception(as_frame=True)
X, y = tones.data, tones.target
models = {
    "one line": MixtureOfLinearRegressions(n_components=1),
    "two lines": MixtureOfLinearRegressions(n_components=2, random_state=0),
    "two, with a gate": MixtureOfExperts(n_components=2, random_state=0),
}
print("model              parameters   log-likelihood      BIC   starts that reached the best value")
for name, model in models.items():
    model.fit(X, y)
    starts = f"{model.restarts_.n_best} of {len(model.restarts_.starts)}"
    line = f"{name:16s}   {model.n_parameters_:10d}   {model.log_likelihood_:14.2f}   {model.bic(X, y):6.1f}"
    print(f"{line}   {starts}")
mixture, experts = models["two lines"], models["two, with a gate"]

# %%
# What the lines mean
# -------------------
# Interval memory is a slope of 0 at a height of 2, partial matching a slope of 1 through 0.
names = ["interval memory", "partial matching"]
print("\n                   slope   intercept   noise (s.d.)   share of trials")
for k, name in enumerate(names):
    slope, intercept, noise = mixture.coef_[k, 0], mixture.intercept_[k], mixture.sigma_[k]
    print(f"{name:16s}   {slope:5.2f}   {intercept:9.2f}   {noise:12.3f}   {mixture.weights_[k]:15.0%}")

# %%
# Predictions
# -----------
# Far from 2 the mean of the mixture lies between the lines, where no trial is. The interval holds 95 % of
# trials, of both kinds together.
new = X.iloc[:4].assign(stretchratio=[1.5, 2.0, 2.5, 3.0])
intervals, gate = mixture.predict_interval(new), experts.predict_proba(new)
print("\nstretch   interval memory   partial matching   mean   95 % interval   memory, by the gate")
for ratio, (memory, match), mean, (lower, upper), prior in zip(
    new["stretchratio"], mixture.predict_components(new), mixture.predict(new), intervals, gate, strict=True
):
    print(
        f"{ratio:7.1f}   {memory:15.2f}   {match:16.2f}   {mean:4.2f}   {lower:4.2f} to {upper:4.2f}   "
        f"{prior[0]:19.0%}"
    )

# By the gate memory gives way to matching as tones are stretched. It costs one parameter and gains too little
# likelihood: BIC prefers to do without.
unsure = mixture.predict_proba(X, y).max(axis=1) < 0.9
near = np.abs(X["stretchratio"] - 2) < 0.15
print(f"\n{unsure.sum()} of {len(X)} trials belong to either line with less than 90 % probability,")
print(f"{(unsure & near).sum()} of them within 0.15 of the ratio 2, where the lines cross")

# %%
# The picture
# -----------
# Points take the colour of their line, in proportion where it is not clear which.
import matplotlib.pyplot as plt

from emlearn.display import RegressionMixtureDisplay

figure, axes = plt.subplot_mosaic(
    [["mixture", "experts"], ["mixture", "gate"]], figsize=(12, 5.5), height_ratios=[4, 1], layout="constrained"
)
for name, model, gate_ax in (("mixture", mixture, None), ("experts", experts, axes["gate"])):
    style = {"labels": names, "interval": 0.95, "scatter_kwargs": {"s": 25}}
    RegressionMixtureDisplay.from_estimator(model, X, y, ax=axes[name], gate_ax=gate_ax, **style)
    bic = f"{model.bic(X, y):.1f}".replace("-", "−")
    title = f"{'With' if gate_ax else 'Without'} a gate: BIC {bic}"
    axes[name].set(ylabel="tuned ratio", ylim=(1.05, 3.65), title=title)
axes["experts"].sharex(axes["gate"])
axes["experts"].tick_params(labelbottom=False)
for name in ("mixture", "gate"):
    axes[name].set_xlabel("stretch ratio")
for ax in axes.values():
    ax.spines[["top", "right"]].set_visible(False)
picture = Path("tone_perception.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
