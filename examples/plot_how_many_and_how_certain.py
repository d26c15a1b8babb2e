"""
How many kinds, and how certain is that?
========================================

The eruptions of Old Faithful are short or long. A search by BIC over numbers of components and forms of their
covariance matrices says how many kinds the data bear out; a likelihood ratio test by simulation asks the
same of two kinds against one; and standard errors say how well each estimate is known.
"""

import matplotlib.pyplot as plt

from emlearn import GaussianMixtureEM
from emlearn.datasets import load_old_faithful
from emlearn.display import InferenceDisplay, ModelSelectionDisplay
from emlearn.model_selection import InformationCriterionSearch, bootstrap, bootstrap_lrt

X = load_old_faithful(as_frame=True).data

# %%
# Every candidate is fitted to all data. Those of one form are fitted one after another: components of each are
# split into starts for the next, so that the likelihood never falls as components are added.
grid = {"n_components": range(1, 7), "covariance_type": ["full", "tied", "diag"]}
search = InformationCriterionSearch(GaussianMixtureEM(random_state=0), grid).fit(X)
print(f"BIC is least, {-search.best_score_:.1f}, at {search.best_params_}")

# %%
# BIC hardly tells three kinds of one form from two of their own. Two kinds it is, against one, beyond doubt:
two = GaussianMixtureEM(n_components=2, random_state=0).fit(X)
test = bootstrap_lrt(GaussianMixtureEM(n_components=1), two, X, n=39, random_state=0)
print(f"one kind against two: twice the log-likelihood ratio {test.statistic:.1f}, p = {test.pvalue:.3f}")

# %%
# How well is each number known? By the observed information, and by fits to rows drawn anew.
print(two.summary(X))
again = bootstrap(two, X, n=200, random_state=0)
print("standard errors of the means by the information:", two.standard_errors(X)["means_"].round(3).tolist())
print("and by the bootstrap:                           ", again.standard_errors["means_"].round(3).tolist())

# %%
# How far apart are the two kinds, and how certain is that?
apart = two.function_se(lambda model: model.means_[0] - model.means_[1], X)
print(f"long eruptions last {apart.value[0]:.2f} ± {apart.standard_error[0]:.2f} minutes longer")
low, high = two.profile_likelihood("weights_[0]", X)
print(f"profile interval of the share of long eruptions: {low:.3f} to {high:.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
ModelSelectionDisplay.from_search(search, ax=left)
InferenceDisplay.from_inference(two.infer(X), "weights_", ax=right)
figure.savefig("how_many_and_how_certain.png", dpi=120)
plt.show()
