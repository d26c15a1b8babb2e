"""Files of earlier versions: what doc/persistence.rst promises of them.

``python -m tests.test_persistence`` writes those of the version at hand; it is run once, for a release.
"""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

import emlearn
from tests.helpers.fitted import FITS, answers

FOLDER = Path(__file__).parent / "data" / "fitted"
PICKLES, SKOPS = (sorted(FOLDER.rglob(f"*.{kind}")) for kind in ("pkl", "skops"))
AS_SKOPS = ["GaussianMixtureEM", "HMMEM", "EMImputer"]


def assert_answers(path, name, model):
    expected = np.load(path.parent / "answers.npz")
    found = {f"{name}.{method}": value for method, value in answers(name, model).items()}
    assert {key for key in expected.files if key.startswith(f"{name}.")} == set(found)
    for key, value in found.items():
        np.testing.assert_allclose(value, expected[key], rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.fixture
def no_word_of_other_versions():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Trying to unpickle estimator LinearRegression")  # scikit-learn's own
        warnings.filterwarnings("ignore", r".* was pickled by emlearn")
        yield


@pytest.mark.usefixtures("no_word_of_other_versions")
@pytest.mark.parametrize("path", PICKLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_pickles_of_releases_answer_as_they_did(path):
    assert_answers(path, path.stem, pickle.loads(path.read_bytes()))


@pytest.mark.usefixtures("no_word_of_other_versions")
@pytest.mark.parametrize("path", SKOPS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_skops_files_of_releases_answer_as_they_did(path):
    sio = pytest.importorskip("skops.io")
    trusted = sio.get_untrusted_types(file=path)
    assert {name.partition(".")[0] for name in trusted} <= {"emlearn", "numpy"}
    assert_answers(path, path.stem, sio.load(path, trusted=trusted))


def test_every_estimator_is_there():
    assert {path.stem for path in PICKLES if path.parent.name == "0.2.0"} == set(FITS)


def test_another_version_is_told(monkeypatch):
    dumped = pickle.dumps(FITS["GaussianMixtureEM"]())
    pickle.loads(dumped)
    monkeypatch.setattr("emlearn.base.__version__", "9.9.0")
    with pytest.warns(UserWarning, match=rf"pickled by emlearn {emlearn.__version__} and is loaded by 9\.9\.0"):
        pickle.loads(dumped)


def write():
    import zipfile

    import skops.io

    folder, said = FOLDER / emlearn.__version__, {}
    folder.mkdir(parents=True)
    for name, fit in FITS.items():
        model = fit()
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model, protocol=5))
        said |= {f"{name}.{method}": value for method, value in answers(name, model).items()}
        if name in AS_SKOPS:
            skops.io.dump(model, folder / f"{name}.skops", compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    np.savez_compressed(folder / "answers.npz", **said)


if __name__ == "__main__":
    write()
