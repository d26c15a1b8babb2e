"""Cross-validation over sequences: how many states, and which state when?

Sequences are what is held out, whole. A list of them goes through scikit-learn's tools as rows do elsewhere;
rows in a DataFrame do as well, with a column that tells sequences apart and a splitter that keeps groups whole.
The sequences are drawn from a model that we know: Old Faithful's eruptions and waits, in three states.
"""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emlearn import HMMEM
from emlearn.datasets import load_old_faithful
from emlearn.sequences import SequenceWise

geyser = load_old_faithful()
truth = HMMEM(n_components=3, random_state=0).fit(geyser.data)
rng = np.random.RandomState(1)
sequences, states = truth.set_params(random_state=rng).sample(80, n_sequences=20)
sequences = [sequence[: rng.randint(40, 81)] for sequence in sequences]  # of different lengths
states = [path[: len(sequence)] for path, sequence in zip(states, sequences, strict=True)]

# 1. A list. HMMEM itself has no need of scaled features; a pipeline shows where a scaler goes.
pipeline = make_pipeline(SequenceWise(StandardScaler()), HMMEM(random_state=0))
grid = {"hmmem__n_components": [1, 2, 3, 4]}
# Of 4 there are many maxima, since it is one too many: warnings say so, but scores are what is wanted here.
warnings.filterwarnings("ignore", message=".* starts ended at .* different maxima")
search = GridSearchCV(pipeline, grid, cv=4).fit(sequences)
print(f"{len(sequences)} sequences, {sum(map(len, sequences))} steps, from 3 states")
print("states   held-out log-likelihood per step")
for K, score in zip(grid["hmmem__n_components"], search.cv_results_["mean_test_score"], strict=True):
    print(f"{K:6d}   {score:.4f}" + ("   <- best" if score == search.best_score_ else ""))

# Each sequence decoded by a model that has not seen it. States are sorted by their means, as in truth.
decoded = cross_val_predict(search.best_estimator_, sequences, cv=4)
right = np.concatenate(decoded) == np.concatenate(states)
print(f"cross_val_predict: {right.mean():.1%} of the hidden states found")
known = np.concatenate(truth.predict(sequences)) == np.concatenate(states)
print(f"the model that the sequences were drawn from finds {known.mean():.1%}")

# 2. The same rows in one DataFrame. The column "geyser" is not a feature: sequence_id takes it out. Its values
# are also the groups that GroupKFold keeps whole.
lengths = [len(sequence) for sequence in sequences]
frame = pd.DataFrame(np.concatenate(sequences), columns=geyser.feature_names)
frame["geyser"] = np.repeat([f"geyser {i}" for i in range(len(lengths))], lengths)
model = HMMEM(sequence_id="geyser", random_state=0)
by_id = GridSearchCV(model, {"n_components": [1, 2, 3, 4]}, cv=GroupKFold(4))
by_id.fit(frame, groups=frame["geyser"])
print(f"DataFrame: {by_id.best_params_['n_components']} states, {by_id.best_score_:.4f} per step, in minutes")
print("(the densities above are of standardised features, and differ from these by a constant)")
print(f"first states of {frame['geyser'][0]}: {by_id.predict(frame)[:10]}")
