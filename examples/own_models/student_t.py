"""Location and scale, whatever a few outliers say: Student's t with known degrees of freedom.

Hidden is the precision of each observation, a Gamma variable: the t is a normal distribution of unknown
scale. Given the data its mean is u = (ν + 1) / (ν + z²), little for outliers; the M-step takes weighted
moments. Source: Dempster, Laird & Rubin (1980), Iteratively reweighted least squares for linear regression
when errors are normal/independent distributed; Lange, Little & Taylor (1989), J. Am. Stat. Assoc. 84. The
data are Newcomb's measurements of the speed of light (Stigler, 1977), two of which went wrong.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from emlearn.em import EMModel, EStep, Positive, Real, fit_em
from emlearn.testing import check_model


class Params(NamedTuple):
    location: float
    scale: float


class StudentT(EMModel):
    spaces = Params(Real(), Positive())

    def __init__(self, freedom):
        self.freedom = freedom

    def expectation(self, params):
        def e_step(batch):
            x = batch.x[0]
            z = (x - params.location) / params.scale
            precision = (self.freedom + 1) / (self.freedom + z**2)
            sums = [batch.sum(precision * x**power) for power in (0, 1, 2)]
            log_density = stats.t.logpdf(z, self.freedom) - np.log(params.scale)
            return EStep((batch.total_weight, *sums), batch.sum(log_density), batch.total_weight)

        return e_step

    def maximize(self, sums, params):
        n, precision, first, second = sums
        location = first / precision
        return Params(location, np.sqrt((second - location * first) / n))

    def sample(self, params, rows, rng):
        return params.location + params.scale * rng.standard_t(self.freedom, size=rows.shape)


# Billionths of a second above 24,800, for 7,442 metres.
newcomb = np.array(
    [
        *(28, 26, 33, 24, 34, -44, 27, 16, 40, -2, 29, 22, 24, 21, 25, 30, 23, 29, 31, 19, 24, 20),
        *(36, 32, 36, 28, 25, 21, 28, 29, 37, 25, 28, 26, 30, 32, 36, 26, 30, 22, 36, 23, 27, 27),
        *(28, 27, 31, 27, 26, 33, 26, 32, 32, 24, 39, 28, 24, 25, 32, 25, 29, 27, 28, 29, 16, 23),
    ],
    dtype=float,
)
data = newcomb[:, None]
start = Params(data.mean(), data.std())
check_model(StudentT(4), start, data)
fit = fit_em(StudentT(4), start, data, tol=1e-8)
_, location, scale = stats.t.fit(data, fdf=4)
answer = Params(location, scale)
print(f"by EM:    location {fit.params.location:.3f}, scale {fit.params.scale:.3f}")
print(f"by SciPy: location {answer.location:.3f}, scale {answer.scale:.3f}")
print(f"mean and standard deviation: {newcomb.mean():.3f}, {newcomb.std():.3f}")
