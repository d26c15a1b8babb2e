"""Classes that take the places of hmmlearn's: its calls in, those of `HMMEM` out (doc/coming_from).

A model whose parameters were set by hand is `HMMEM.from_parameters`. A fit starts from what was set, where
`init_params` does not ask for it to be drawn, and holds what `params` leaves out.
"""

import inspect

import numpy as np
from hmmlearn import hmm, vhmm
from hmmlearn.base import ConvergenceMonitor
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from stand_ins import used

from emlearn import HMMEM
from emlearn.em import Batches
from emlearn.latent import ChainParams, MarkovChain, stationary_distribution

ALGORITHMS = {"viterbi": "viterbi", "map": "posterior"}


class HiddenMarkovModel:
    """What hmmlearn's models have in common."""

    peer = None  # whose signature this has
    emission = ""
    letters = {"s": "startprob", "t": "transmat"}  # of init_params and params: parameters by emlearn's names
    theirs = {}  # hmmlearn's names of parameters, where they differ

    def __init__(self, *args, **kwargs):
        given = inspect.signature(self.peer).bind(*args, **kwargs)
        given.apply_defaults()
        for name, value in given.arguments.items():
            setattr(self, name, value)
        self.monitor_ = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)

    # -- parameters ----------------------------------------------------------------------------------------

    def _attribute(self, name):
        return f"{self.theirs.get(name, name)}_"

    @property
    def _emitted(self):
        return [name for name in self.letters.values() if name not in ("startprob", "transmat")]

    def _known(self, name):
        """A parameter that was set, as emlearn has it; None without."""
        value = vars(self).get(self._attribute(name))
        return None if value is None else self._read(name, value)

    def _read(self, name, value):
        return np.asarray(value, dtype=float)

    def _write(self, name, value):
        return value

    def _settings(self):
        """Parameters of HMMEM that say what kind of model this is."""
        return {"emission": self.emission, "algorithm": ALGORITHMS[self.algorithm]}

    def _model(self):
        """HMMEM of the parameters that are there."""
        used["called"] = True
        known = {name: self._known(name) for name in self.letters.values()}
        missing = [name for name, value in known.items() if value is None]
        if missing:
            raise NotFittedError(f"neither fitted nor set: {missing}")
        return HMMEM.from_parameters(n_components=self.n_components, **known, **self._settings())

    def _check(self):
        for name in ("startprob", "transmat"):
            if self._known(name) is None:  # what a test leaves out is not what it is about
                K = self.n_components
                setattr(self, self._attribute(name), np.full((K,) if name == "startprob" else (K, K), 1 / K))
        self._model()

    # -- fit -----------------------------------------------------------------------------------------------

    def fit(self, X, lengths=None):
        used["called"] = True
        self._take(self._estimator(self.n_iter).fit(X, lengths=lengths))
        return self

    def _estimator(self, n_iter):
        start = {
            name: value
            for letter, name in self.letters.items()
            if letter not in self.init_params and (value := self._known(name)) is not None
        }
        held = [name for letter, name in self.letters.items() if letter not in self.params and name in start]
        settings = self._settings() | {"max_iter": n_iter, "tol": self.tol, "n_init": 1}
        if "startprob" in held:
            settings["startprob"] = start["startprob"]
            held.remove("startprob")
        elif "startprob" in start:
            settings["startprob_init"] = start["startprob"]
        if "transmat" in start:
            settings["transmat_init"] = start["transmat"]
        emitted = {name: start[name] for name in self._emitted if name in start}
        return HMMEM(
            self.n_components,
            **settings,
            emission_init=emitted or None,
            fixed=held,
            startprob_prior=self.startprob_prior,
            transmat_prior=self.transmat_prior,
            random_state=check_random_state(self.random_state),
            verbose=0,
        )

    def _take(self, model):
        for name in self.letters.values():
            setattr(self, self._attribute(name), self._write(name, getattr(model, f"{name}_")))
        self.n_features = model.n_features_in_
        self.monitor_._reset()
        total = getattr(model, "log_likelihood_", None)
        if total is not None:
            steps = total / model.lower_bound_
            self.monitor_.history.extend(value * steps for value in model.lower_bounds_)
            self.monitor_.iter = model.n_iter_

    def _init(self, X, lengths=None):
        """What a fit would start from."""
        used["called"] = True
        self._take(self._estimator(0).fit(X))

    # -- after fit -----------------------------------------------------------------------------------------

    def score(self, X, lengths=None):
        return self._model().log_likelihood(X, lengths=lengths).sum()

    def score_samples(self, X, lengths=None):
        return self.score(X, lengths), self.predict_proba(X, lengths)

    def predict(self, X, lengths=None):
        return self._model().predict(X, lengths=lengths)

    def predict_proba(self, X, lengths=None):
        return self._model().predict_proba(X, lengths=lengths)

    def decode(self, X, lengths=None, algorithm=None):
        model = self._model()
        if algorithm is not None:
            model.algorithm = ALGORITHMS[algorithm]
        states, log_joint = model.decode(X, lengths=lengths)
        return np.sum(log_joint), states

    def sample(self, n_samples=1, random_state=None, currstate=None):
        rng = check_random_state(self.random_state if random_state is None else random_state)
        return self._model().sample(n_samples, random_state=rng, currstate=currstate)

    def aic(self, X, lengths=None):
        return self._model().aic(X, lengths=lengths)

    def bic(self, X, lengths=None):
        return self._model().bic(X, lengths=lengths)

    def get_stationary_distribution(self):
        used["called"] = True
        return stationary_distribution(np.asarray(self.transmat_))


class GaussianHMM(HiddenMarkovModel):
    peer = hmm.GaussianHMM
    emission = "gaussian"
    letters = HiddenMarkovModel.letters | {"m": "means", "c": "covariances"}
    theirs = {"covariances": "_covars"}

    def _attribute(self, name):
        return "_covars_" if name == "covariances" else super()._attribute(name)

    def _settings(self):
        return super()._settings() | {"covariance_type": self.covariance_type}

    def _read(self, name, value):
        value = np.asarray(value, dtype=float)
        if name == "covariances" and self.covariance_type == "spherical":
            return value.reshape(len(value), -1)[:, 0]  # (K,), (K, 1) and (K, 1, 1) are the same
        return value

    @property
    def covars_(self):
        covariances = self._known("covariances")
        if self.covariance_type == "full":
            return covariances
        K, d = np.shape(self.means_)
        if self.covariance_type == "tied":
            return np.broadcast_to(covariances, (K, d, d)).copy()
        return np.broadcast_to(covariances.reshape(K, -1), (K, d))[:, :, None] * np.eye(d)

    @covars_.setter
    def covars_(self, covariances):
        self._covars_ = np.array(covariances, dtype=float)


class PoissonHMM(HiddenMarkovModel):
    peer = hmm.PoissonHMM
    emission = "poisson"
    letters = HiddenMarkovModel.letters | {"l": "rates"}
    theirs = {"rates": "lambdas"}


class CategoricalHMM(HiddenMarkovModel):
    peer = hmm.CategoricalHMM
    emission = "categorical"
    letters = HiddenMarkovModel.letters | {"e": "probabilities"}
    theirs = {"probabilities": "emissionprob"}

    def _read(self, name, value):
        value = super()._read(name, value)
        return (value,) if name == "probabilities" else value  # one array for each column

    def _write(self, name, value):
        return value[0] if name == "probabilities" else value

    def _settings(self):
        settings = super()._settings()
        if self.n_features is not None and "n_categories" in HMMEM._get_param_names():
            settings["n_categories"] = self.n_features
        return settings

    def _take(self, model):
        super()._take(model)
        self.n_features = self.emissionprob_.shape[1]


class MultinomialHMM(HiddenMarkovModel):
    peer = hmm.MultinomialHMM
    emission = "multinomial"
    letters = HiddenMarkovModel.letters | {"e": "probabilities"}
    theirs = {"probabilities": "emissionprob"}

    def _settings(self):
        from emlearn.families import Multinomial  # the word alone takes the number of trials from the rows

        return super()._settings() | {"emission": Multinomial(trials=self.n_trials)}


class GMMHMM(HiddenMarkovModel):
    peer = hmm.GMMHMM
    emission = "gmm"
    letters = HiddenMarkovModel.letters | {"m": "means", "c": "covariances", "w": "weights"}
    theirs = {"covariances": "covars"}

    def _settings(self):
        return super()._settings() | {"covariance_type": self.covariance_type, "n_mixtures": self.n_mix}

    def _read(self, name, value):
        value = super()._read(name, value)
        if name == "covariances" and self.covariance_type == "tied" and value.ndim == 3:
            if not (value == value[:1]).all():
                raise NotImplementedError("a covariance matrix for each state that its Gaussians share")
            return value[0]
        return value

    def _write(self, name, value):
        if name == "covariances" and self.covariance_type == "tied":
            return np.broadcast_to(value, (self.n_components, *value.shape)).copy()
        return value


class Variational:
    """Posteriors in place of parameters: what is asked goes to the model that was fitted."""

    fitted = None

    def _settings(self):
        return super()._settings() | {"inference": "variational"}

    def _priors(self):
        """Of the emissions, by emlearn's names."""
        return {}

    def fit(self, X, lengths=None):
        used["called"] = True
        if self.fitted is None or self.init_params:
            self.fitted = self._estimator(self.n_iter)
            priors = {name: value for name, value in self._priors().items() if value is not None}
            self.fitted.set_params(
                emission_prior=priors or None,
                startprob_prior=self._prior_of("startprob"),
                transmat_prior=self._prior_of("transmat"),
                warm_start=True,
            )
        self.fitted.set_params(max_iter=self.n_iter).fit(X, lengths=lengths)
        self._take(self.fitted)
        return self

    def _prior_of(self, name):
        """What was set as attribute, or else as argument."""
        value = vars(self).get(f"{name}_prior_")
        value = getattr(self, f"{name}_prior", None) if value is None else value
        if value is not None:
            setattr(self, f"{name}_prior_", value)
        return value

    def _of_all(self, name):
        """The one prior that all states have."""
        value = self._prior_of(name)
        if value is None or np.ndim(value) == 0:
            return value
        value = np.asarray(value, dtype=float)
        if not (value == value[:1]).all():
            raise NotImplementedError("a prior for each state")
        return value[0]

    def _model(self):
        used["called"] = True
        if self.fitted is None:
            raise NotFittedError("not fitted")
        return self.fitted


class VariationalGaussianHMM(Variational, GaussianHMM):
    peer = vhmm.VariationalGaussianHMM

    def _priors(self):
        tied = self.covariance_type == "tied"
        return {
            "means": self._of_all("means"),
            "beta": self._of_all("beta"),
            "dof": self._prior_of("dof") if tied else self._of_all("dof"),
            "scale": self._prior_of("scale") if tied else self._of_all("scale"),
        }

    def _take(self, model):
        super()._take(model)
        self.means_posterior_ = self.means_


class VariationalCategoricalHMM(Variational, CategoricalHMM):
    peer = vhmm.VariationalCategoricalHMM

    def _priors(self):
        return {"concentration": self._of_all("emissionprob")}


class BaseHMM:
    """A model whose densities a subclass brings: the chain of emlearn on them."""

    def __init__(self, n_components=1):
        self.n_components = n_components

    def _chain(self):
        used["called"] = True
        return ChainParams(np.asarray(self.startprob_, float), np.asarray(self.transmat_, float))

    def _seen(self, X):
        log_prob = np.array(self._compute_log_likelihood(X).T, order="C")
        (batch,) = Batches(np.zeros((len(X), 1)), lengths=np.array([len(X)])).map(lambda batch: batch)
        return log_prob, batch

    def score_samples(self, X):
        posterior, _, total = MarkovChain().posterior(self._chain(), *self._seen(X))
        return total, posterior.T

    def decode(self, X):
        path, log_joint = MarkovChain().viterbi(self._chain(), *self._seen(X))
        return log_joint.sum(), path

    def _check(self):
        used["called"] = True
        K = self.n_components
        transmat = vars(self).get("transmat_", np.full((K, K), 1 / K))
        self._alike(transmat)

    def _alike(self, transmat):
        """An HMM of this chain, whatever it emits."""
        K = self.n_components
        return HMMEM.from_parameters(
            self.startprob_, transmat, n_components=K, emission="poisson", rates=np.ones((K, 1))
        )

    def sample(self, n_samples=1, currstate=None):
        used["called"] = True
        return self._alike(self.transmat_).sample(n_samples, currstate=currstate)

    def get_stationary_distribution(self):
        used["called"] = True
        return stationary_distribution(np.asarray(self.transmat_))


HMM = (GaussianHMM, PoissonHMM, CategoricalHMM, MultinomialHMM, GMMHMM)
VHMM = (VariationalGaussianHMM, VariationalCategoricalHMM)
