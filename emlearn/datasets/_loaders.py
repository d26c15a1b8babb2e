import gzip
from importlib.resources import files

import numpy as np
from sklearn.utils import Bunch

_DATA = files("emlearn.datasets") / "data"


def _read(name):
    """Read data/<name>.csv.gz into a dict of float64 columns, and its description."""
    with (_DATA / f"{name}.csv.gz").open("rb") as packed, gzip.open(packed, "rt") as lines:
        header = next(lines).strip().split(",")
        columns = np.loadtxt(lines, delimiter=",", unpack=True)
    description = (_DATA / f"{name}.rst").read_text(encoding="utf-8")
    return dict(zip(header, columns, strict=True)), description


def _days(yyyymmdd):
    """Turn numbers such as 19970131 into datetime64[D]."""
    year_month, day = np.divmod(yyyymmdd.astype(np.int64), 100)
    year, month = np.divmod(year_month, 100)
    months = (year - 1970) * 12 + month - 1
    return months.astype("datetime64[M]").astype("datetime64[D]") + (day - 1)


def _bunch(name, columns, description, features, as_frame, target=None):
    """Gather columns as scikit-learn's loaders do; `features` are the columns of `data`.

    The column `target` becomes the entry of that name, any others entries of their own.
    """
    frame = None
    data = np.column_stack([columns[feature] for feature in features]).astype(np.float64)
    others = {key: column for key, column in columns.items() if key not in features}
    if as_frame:
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("as_frame=True needs pandas, which is not installed.") from error
        frame = pd.DataFrame(columns)
        data = frame[features]
        others = {key: frame[key] for key in others}
    if target is not None:
        others["target"] = others.pop(target)
        others["target_names"] = [target]
    return Bunch(
        data=data,
        feature_names=features,
        frame=frame,
        DESCR=description,
        filename=f"{name}.csv.gz",
        **others,
    )


def load_cdnow(*, as_frame: bool = False) -> Bunch:
    """Load the customers of the online CD shop CDNOW, January 1997 to June 1998.

    One row for each of 23,502 customers who first ordered in early 1997: what they spent, how
    often they ordered, how many CDs they bought, and when they bought first and last.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (23502, 3), or DataFrame
            ``total_spend`` (US dollars, above 0), ``n_orders`` and ``n_items`` (counts, 1 or
            more). In the DataFrame the counts are int64.
        feature_names : list of str
            Names of the columns of `data`.
        customer : int64 array of shape (23502,), or Series
            Number of the customer, increasing, with gaps.
        first_purchase, last_purchase : datetime64[D] arrays of shape (23502,), or Series
            Days of the first and of the last order.
        frame : DataFrame of shape (23502, 6), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    Notes
    -----
    The source is the master data set of [1]_, summed per customer. Orders of zero dollars are
    not counted.

    References
    ----------
    .. [1] P. S. Fader and B. G. S. Hardie (2001), "Forecasting repeat sales at CDNOW: a case
       study", Interfaces 31 (3, part 2), S94-S107. https://brucehardie.com/datasets/

    Examples
    --------
    >>> from emlearn.datasets import load_cdnow
    >>> cdnow = load_cdnow()
    >>> cdnow.data.shape
    (23502, 3)
    >>> cdnow.feature_names
    ['total_spend', 'n_orders', 'n_items']
    >>> print(cdnow.last_purchase.max())
    1998-06-30
    """
    columns, description = _read("cdnow")
    for name in ("customer", "n_orders", "n_items"):
        columns[name] = columns[name].astype(np.int64)
    for name in ("first_purchase", "last_purchase"):
        columns[name] = _days(columns[name])
    features = ["total_spend", "n_orders", "n_items"]
    return _bunch("cdnow", columns, description, features, as_frame)


def load_old_faithful(*, as_frame: bool = False) -> Bunch:
    """Load 272 eruptions of the Old Faithful geyser.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (272, 2), or DataFrame
            ``eruptions``, the length of an eruption, and ``waiting``, the time to the next one,
            both in minutes.
        feature_names : list of str
            Names of the columns of `data`.
        frame : DataFrame of shape (272, 2), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] W. Härdle (1991), "Smoothing Techniques with Implementation in S", Springer. The data
       are ``datasets::faithful`` of R.
    .. [2] A. Azzalini and A. W. Bowman (1990), "A look at some data on the Old Faithful geyser",
       Applied Statistics 39, 357-365.

    Examples
    --------
    >>> from emlearn.datasets import load_old_faithful
    >>> load_old_faithful().data[:2]
    array([[ 3.6, 79. ],
           [ 1.8, 54. ]])
    """
    columns, description = _read("old_faithful")
    return _bunch("old_faithful", columns, description, ["eruptions", "waiting"], as_frame)


def load_earthquakes(*, as_frame: bool = False) -> Bunch:
    """Load the number of major earthquakes in each year from 1900 to 2006.

    Major means of magnitude 7 or more. The rows are a time series, in order.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (107, 1), or DataFrame
            ``earthquakes``, the count of a year. In the DataFrame it is int64.
        feature_names : list of str
            Names of the columns of `data`.
        year : int64 array of shape (107,), or Series
            1900 to 2006, without gaps.
        frame : DataFrame of shape (107, 2), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] W. Zucchini, I. L. MacDonald and R. Langrock (2016), "Hidden Markov Models for Time
       Series: An Introduction Using R", second edition, Chapman and Hall/CRC.

    Examples
    --------
    >>> from emlearn.datasets import load_earthquakes
    >>> earthquakes = load_earthquakes()
    >>> earthquakes.year[:3], earthquakes.data[:3].T
    (array([1900, 1901, 1902]), array([[13., 14.,  8.]]))
    """
    columns, description = _read("earthquakes")
    columns = {name: column.astype(np.int64) for name, column in columns.items()}
    return _bunch("earthquakes", columns, description, ["earthquakes"], as_frame)


def load_airquality(*, as_frame: bool = False) -> Bunch:
    """Load 153 days of ozone, sunshine, wind and temperature in New York, 1973, with missing entries.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (153, 6), or DataFrame
            ``Ozone`` (ppb), ``Solar.R`` (solar radiation, langleys), ``Wind`` (mph), ``Temp`` (daily
            maximum, degrees Fahrenheit), ``Month`` (5 to 9) and ``Day`` (1 to 31). NaN where an entry is
            missing: 37 of ozone and 7 of solar radiation. In the DataFrame month and day are int64.
        feature_names : list of str
            Names of the columns of `data`.
        frame : DataFrame of shape (153, 6), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] J. M. Chambers, W. S. Cleveland, B. Kleiner and P. A. Tukey (1983), "Graphical Methods for Data
       Analysis", Wadsworth. Measured by the New York State Department of Conservation (ozone) and the
       National Weather Service. The data are ``datasets::airquality`` of R.

    Examples
    --------
    >>> from emlearn.datasets import load_airquality
    >>> airquality = load_airquality()
    >>> airquality.data.shape
    (153, 6)
    >>> airquality.data[4]
    array([ nan,  nan, 14.3, 56. ,  5. ,  5. ])
    """
    columns, description = _read("airquality")
    for name in ("Month", "Day"):
        columns[name] = columns[name].astype(np.int64)
    return _bunch("airquality", columns, description, list(columns), as_frame)


def load_tone_perception(*, as_frame: bool = False) -> Bunch:
    """Load 150 trials of a musician who tuned tones with stretched overtones.

    What was tuned follows one of two lines, by one of two theories of how pitch is perceived: a standard
    example of a mixture of linear regressions.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (150, 1), or DataFrame
            ``stretchratio``, the ratio between overtones; 2 is harmonic.
        target : float64 array of shape (150,), or Series
            ``tuned``, the ratio of the tuned tone to the fundamental.
        feature_names : list of str
            Names of the columns of `data`.
        target_names : list of str
            Name of the target.
        frame : DataFrame of shape (150, 2), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] E. A. Cohen (1980), "Inharmonic tone perception", unpublished Ph.D. dissertation, Stanford
       University. The data are ``tonedata`` of R's fpc and mixtools.
    .. [2] R. D. De Veaux (1989), "Mixtures of linear regressions", Computational Statistics & Data
       Analysis 8, 227-245.

    Examples
    --------
    >>> from emlearn.datasets import load_tone_perception
    >>> tones = load_tone_perception()
    >>> tones.data.shape
    (150, 1)
    >>> tones.data[:3, 0], tones.target[:3]
    (array([1.35, 1.4 , 1.45]), array([1.461, 1.407, 1.452]))
    """
    columns, description = _read("tone_perception")
    return _bunch("tone_perception", columns, description, ["stretchratio"], as_frame, target="tuned")


def load_fed_funds(*, as_frame: bool = False) -> Bunch:
    """Load the federal funds rate, with inflation and output gap, quarter by quarter, 1954 to 2010.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (226, 2), or DataFrame
            The columns ``inflation``, in % a year, NaN in the first four rows, and ``output_gap``, in %.
        feature_names : list of str
            Names of the columns of `data`.
        target : float64 array of shape (226,), or Series
            The rate in % a year, mean of the quarter.
        target_names : list of str
            ``["fed_funds"]``.
        year, quarter : int64 arrays of shape (226,), or Series
            When that was.
        frame : DataFrame of shape (226, 5), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] Federal Reserve Bank of St. Louis, Federal Reserve Economic Data, as compiled in Stata's ``usmacro``.

    Examples
    --------
    >>> from emlearn.datasets import load_fed_funds
    >>> rates = load_fed_funds()
    >>> rates.data.shape
    (226, 2)
    >>> rates.year[:2], rates.target[:2]
    (array([1954, 1954]), array([1.03, 0.99]))
    """
    columns, description = _read("fed_funds")
    for name in ("year", "quarter"):
        columns[name] = columns[name].astype(np.int64)
    features = ["inflation", "output_gap"]
    return _bunch("fed_funds", columns, description, features, as_frame, target="fed_funds")


def load_npreg(*, as_frame: bool = False) -> Bunch:
    """Load 200 artificial rows with a normal, a Poisson and a binary response, of two components.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (200, 1), or DataFrame
            The feature ``x``, between 0 and 10.
        feature_names : list of str
            Names of the columns of `data`.
        yn : float64 array of shape (200,), or Series
            Normal response: its mean is a line in one component and a parabola in the other.
        yp : int64 array of shape (200,), or Series
            Poisson response, with a log-linear mean.
        yb : int64 array of shape (200,), or Series
            Binary response, 0 or 1, with linear log-odds.
        component : int64 array of shape (200,), or Series
            The component that a row was drawn from, 1 or 2.
        id1, id2 : int64 arrays of shape (200,), or Series
            Groups of 2 and of 4 rows. Rows of one group are of the same component.
        frame : DataFrame of shape (200, 7), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    Notes
    -----
    The rows are those published with the package of [1]_; the description has what they were drawn from.

    References
    ----------
    .. [1] F. Leisch (2004), "FlexMix: A general framework for finite mixture models and latent class
       regression in R", Journal of Statistical Software 11 (8). The data are ``NPreg`` of R's flexmix.
    .. [2] B. Grün and F. Leisch (2008), "FlexMix version 2: finite mixtures with concomitant variables and
       varying and constant parameters", Journal of Statistical Software 28 (4).

    Examples
    --------
    >>> from emlearn.datasets import load_npreg
    >>> npreg = load_npreg()
    >>> npreg.data.shape
    (200, 1)
    >>> npreg.yp[:5], npreg.id1[:5]
    (array([4, 3, 9, 3, 4]), array([1, 1, 2, 2, 3]))
    """
    columns, description = _read("npreg")
    for name in ("yp", "yb", "component", "id1", "id2"):
        columns[name] = columns[name].astype(np.int64)
    return _bunch("npreg", columns, description, ["x"], as_frame)


def load_election(*, as_frame: bool = False) -> Bunch:
    """Load what 1,785 Americans thought of two candidates before the election of 2000, with missing answers.

    How well each of six traits describes Gore and Bush: a standard example of latent classes.

    Parameters
    ----------
    as_frame : bool, default=False
        Return pandas objects instead of arrays.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        data : float64 array of shape (1785, 12), or DataFrame
            Traits of Gore and then of Bush, ``MORALG`` (moral), ``CARESG`` (cares about people), ``KNOWG``
            (knowledgeable), ``LEADG`` (strong leader), ``DISHONG`` (dishonest), ``INTELG`` (intelligent),
            ``MORALB``, ...: 0 (describes him extremely well) to 3 (not well at all), NaN without an answer.
        feature_names : list of str
            Names of the columns of `data`.
        VOTE3, AGE, EDUC, GENDER, PARTY : float64 arrays of shape (1785,), or Series
            Reported vote (1 Gore, 2 Bush, 3 other), age in years, education (1 to 7), gender (1 male, 2
            female), party (1, strong Democrat, to 7, strong Republican); NaN without an answer.
        frame : DataFrame of shape (1785, 17), or None
            All columns. Only with ``as_frame=True``.
        DESCR : str
            Description of the data set, with its source.
        filename : str
            Name of the file, within ``emlearn/datasets/data``.

    Raises
    ------
    ImportError
        If ``as_frame=True`` and pandas is not installed.

    References
    ----------
    .. [1] American National Election Studies 2000, ICPSR 3131, University of Michigan.
    .. [2] D. A. Linzer and J. B. Lewis (2011), "poLCA: an R package for polytomous variable latent class
       analysis", Journal of Statistical Software 42 (10). The data are ``election`` of R's poLCA.

    Examples
    --------
    >>> from emlearn.datasets import load_election
    >>> election = load_election()
    >>> election.data.shape
    (1785, 12)
    >>> election.PARTY[:3]
    array([5., 3., 1.])
    """
    columns, description = _read("election")
    return _bunch("election", columns, description, list(columns)[:12], as_frame)
