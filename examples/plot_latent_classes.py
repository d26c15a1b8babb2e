"""
Latent classes of voters
========================

Before the election of 2000 Americans were asked how well six traits describe each candidate. Latent classes
find who answers alike, and three steps then ask what party has to do with it, without letting party decide what
the classes are. Run this file: it prints the classes, and saves a picture of them as ``latent_classes.png``.
"""

# %%
# Three classes
# -------------
# The twelve answers are categories, from 0 (extremely well) to 3 (not well at all). Who left some out takes
# part all the same.
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from emlearn import LatentClassEM
from emlearn.datasets import load_election

votes = load_election(as_frame=True).frame
items = list(votes.columns[:12])
voters = votes[[*items, "PARTY", "AGE"]].dropna(subset=["PARTY"])

# %%
# Party, in three steps
# ---------------------
# The answers alone make the classes; voters are then assigned to them, and party explains the assignments,
# whose errors are known. Age is an outcome.
classes = LatentClassEM(
    3, gate="PARTY", outcome={"AGE": "gaussian"}, n_steps=3, correction="ML", random_state=0
).fit(voters)
print("weights", classes.weights_.round(2))
print("slopes of party", classes.gate_coef_[:, 0].round(2))
print("mean age", classes.emission_params_[13,].means.ravel().round(1))
print(f"entropy {classes.relative_entropy(voters):.2f}")

# %%
# Profiles, and who is in which class
# -----------------------------------
# One class thinks well of Gore, one of Bush, and one has no strong opinion of either.
display = classes.profile_plot()
plt.savefig(Path("latent_classes.png"), dpi=150)

# %%
# Republicans are in the class that thinks well of Bush, strong Democrats in the other.
party = np.arange(1, 8)
scores = classes.gate_intercept_ + np.outer(party, classes.gate_coef_[:, 0])
shares = np.exp(scores - scores.max(axis=1, keepdims=True))
shares /= shares.sum(axis=1, keepdims=True)
figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for k, line in enumerate(["-", "--", ":"]):
    ax.plot(party, shares[:, k], line, color="black", marker="o", label=f"class {k}")
ax.set(xlabel="party, from strong Democrat to strong Republican", ylabel="probability", ylim=(0, 1))
ax.legend(frameon=False)
plt.savefig(Path("latent_classes_by_party.png"), dpi=150)
