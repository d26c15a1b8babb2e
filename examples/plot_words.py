"""
Words as multinomials
=====================

What a text is about shows in how often it uses which words. A mixture of multinomials groups texts by that,
and says of each group which words are its own. The texts here are what scikit-learn says of its estimators:
those of linear models, of ensembles and of nearest neighbours. The mixture does not know which is which.

Run this file: it prints what it finds, and saves a picture as ``words.png``.
"""

# %%
# Texts and counts
# ----------------
# Of the words of four letters and more the 300 that are most frequent, without those in more than half of the
# texts.
import warnings
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.discovery import all_estimators

from emlearn import MixtureEM

subjects = ("linear_model", "ensemble", "neighbors")
texts = [(kind.__module__.split(".")[1], name, kind.__doc__) for name, kind in all_estimators()]
texts = [text for text in texts if text[0] in subjects]
true = np.array([subject for subject, _, _ in texts])
counter = CountVectorizer(stop_words="english", token_pattern=r"[a-z]{4,}", max_df=0.5, max_features=300)
counts = counter.fit_transform([words for _, _, words in texts])  # sparse
words = counter.get_feature_names_out()
share = counts.nnz / np.prod(counts.shape)
print(f"{counts.shape[0]} texts, {counts.shape[1]} words, {share:.0%} of the counts not 0")

# %%
# The mixture
# -----------
# A Dirichlet prior leaves no word impossible that a group has not used. Texts of hundreds of words leave little
# doubt as to their group, even where the groups are still wrong, so that nearly every start ends elsewhere:
# annealing, which flattens the posterior at first, helps.
warnings.filterwarnings("ignore", message=".* starts ended at .* different maxima")
model = MixtureEM(3, emission="multinomial", emission_prior=1.05, annealing=True, random_state=0)
group = model.fit_predict(counts)  # as sparse as they are
print(f"adjusted Rand index {adjusted_rand_score(true, group):.2f}")
print("group   texts   " + "   ".join(subjects))
for k in range(3):
    shares = "   ".join(f"{np.sum(true[group == k] == subject):{len(subject)}d}" for subject in subjects)
    print(f"{k:5d}   {np.sum(group == k):5d}   {shares}")

# %%
# The words of each group
# -----------------------
# Those that tell most for a text to be of the group and no other: by how much more frequent they are there, and
# how frequent.
import matplotlib.pyplot as plt

p = model.probabilities_
telling = p * np.log(p / (model.weights_ @ p))
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
for k, ax in enumerate(axes):
    best = np.argsort(telling[k])[-10:]
    ax.barh(words[best], 1000 * p[k, best], color=f"C{k}")
    ax.plot(1000 * (model.weights_ @ p)[best], words[best], "k|", markersize=12, label="all texts")
    mostly = max(subjects, key=lambda subject: np.sum(true[group == k] == subject))
    ax.set(title=f"group {k}: {np.sum(group == k)} texts, mostly of\n{mostly}", xlabel="of 1000 words")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False, loc="lower right")
picture = Path("words.png").resolve()
figure.savefig(picture, dpi=120)
print(f"\nThe picture is {picture}")
