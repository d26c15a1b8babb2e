"""Sequences in pieces that are read again: the same fit as of the whole, and what is refused."""

import pickle

import numpy as np
import pandas as pd
import pytest

from emlearn import HMMEM
from emlearn._input.sequence_pieces import come_in_pieces
from emlearn.em import Batches, from_parquet

SHORT = {"n_init": 2, "max_iter": 5, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module", autouse=True)
def _as_if_there_were_many():
    """A race on a part, and pieces that are not all joined, of few sequences."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emlearn.hmm._hmm.SAMPLE_STEPS", 700)
        patch.setattr("emlearn.dask._sequences.JOINED_STEPS", 300)
        yield


@pytest.fixture(scope="module")
def chains():
    rng = np.random.default_rng(0)
    made = []
    for length in rng.integers(30, 60, 24).tolist():
        state = np.cumsum(rng.random(length) < 0.1) % 2
        made.append(rng.standard_normal((length, 2)) + 3.0 * state[:, None])
    return made


class Reread:
    """What starts afresh, and counts how often it does."""

    def __init__(self, items):
        self.items, self.n_reads = items, 0

    def __iter__(self):
        self.n_reads += 1
        return iter(self.items)


def parameters(fitted):
    return np.concatenate([np.ravel(value) for value in (fitted.startprob_, fitted.transmat_, fitted.means_)])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_pieces_are_fitted_as_the_whole_is(chains, gaps, weighted):
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 3, len(chains)) * 0.5 if weighted else None
    if gaps:
        chains = [np.where(rng.random(x.shape) < 0.1, np.nan, x) for x in chains]
    whole = HMMEM(2, **SHORT).fit(chains, sample_weight=weight)
    pieces = HMMEM(2, **SHORT).fit([chains[:9], chains[9:16], chains[16:]], sample_weight=weight)
    np.testing.assert_allclose(parameters(pieces), parameters(whole), rtol=1e-10, atol=1e-10)
    assert pieces.log_likelihood_ == pytest.approx(whole.log_likelihood_, rel=1e-12)
    assert pieces.lower_bound_ == pytest.approx(whole.lower_bound_, rel=1e-12)
    assert pieces.n_sequences_ == len(chains)
    score = pieces.score([chains[:3], chains[3:]], sample_weight=weight)
    assert score == pytest.approx(whole.score(chains, sample_weight=weight), rel=1e-12)


def test_whatever_gives_the_sequences_they_are_the_same(chains):
    """One by one they are joined; a list is never parted."""
    source = Reread(chains)
    one_by_one = HMMEM(2, **SHORT).fit(source)
    assert source.n_reads > 5
    by_function = HMMEM(2, **SHORT).fit(lambda: (x for x in chains))
    of_both = HMMEM(2, **SHORT).fit(Reread([chains[0], [], chains[1:3], *chains[3:]]))
    objects = np.empty(len(chains), dtype=object)
    objects[:] = chains
    as_objects = HMMEM(2, **SHORT).fit([objects[:9], objects[9:]])
    as_lists = HMMEM(2, **SHORT).fit([chains[:9], chains[9:]])
    np.testing.assert_array_equal(parameters(one_by_one), parameters(by_function))
    np.testing.assert_allclose(parameters(one_by_one), parameters(of_both), rtol=1e-10)
    np.testing.assert_array_equal(parameters(as_objects), parameters(as_lists))


def test_frames_with_names(chains):
    frames = [pd.DataFrame(x, columns=["a", "b"]) for x in chains]
    there = HMMEM(2, **SHORT).fit([frames[:9], frames[9:]])
    assert there.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(
        parameters(there), parameters(HMMEM(2, **SHORT).fit([chains[:9], chains[9:]]))
    )


def test_what_are_pieces_and_what_is_not(chains):
    x = chains[0]
    assert come_in_pieces([[x], [x]])
    assert come_in_pieces([[], [x]])
    assert come_in_pieces(lambda: iter([x]))
    assert come_in_pieces(Reread([x]))
    for whole in (
        chains,
        x,
        x.tolist(),
        [x.tolist()],
        np.stack([x, x]),
        pd.DataFrame(x),
        [pd.DataFrame(x)],
        [],
    ):
        assert not come_in_pieces(whole)


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "filter_proba", "score_samples", "log_likelihood"]
)
def test_predictions_are_made_piece_by_piece_when_asked_for(chains, method):
    fitted = HMMEM(2, **SHORT).fit(chains)
    expected = getattr(fitted, method)(chains)
    source = Reread([chains[:2], chains[2], [], chains[3:]])
    made = getattr(fitted, method)(source)
    assert not source.n_reads
    for _ in range(2):
        first, one, none, rest = made
        assert len(none) == 0
        for got, other in zip([*first, one, *rest], expected, strict=True):
            np.testing.assert_allclose(got, other, rtol=1e-12)
    assert source.n_reads == 2


def spoilt(chains, number, make):
    return [*chains[:number], make(chains[number]), *chains[number + 1 :]]


BAD = {
    "width": (lambda x: x[:, :1], "Sequence 20 has 1 features, but HMMEM is expecting 2"),
    "empty": (lambda x: x[:0], "Sequence 20 is empty"),
    "one dimension": (lambda x: x[:, 0], "Sequence 20 is one-dimensional"),
    "text": (lambda x: x.astype(str), r"Sequence 20 has entries that are no numbers in columns \[0, 1\]"),
    "infinite": (lambda x: np.where(np.arange(len(x))[:, None] == 4, np.inf, x), "sequence 20, row 4"),
}


@pytest.mark.parametrize("name", BAD)
def test_sequences_are_named_by_their_number(chains, name):
    make, message = BAD[name]
    bad = spoilt(chains, 20, make)
    fitted = HMMEM(2, **SHORT).fit(chains[:3])
    before = pickle.dumps(fitted)
    for X in (Reread(bad), [bad[:9], bad[9:]]):
        with pytest.raises(ValueError, match=message):
            fitted.fit(X)
    assert pickle.dumps(fitted) == before


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        (iter, {}, "can be read once"),
        (lambda chains: (x for x in chains), {}, "can be read once"),
        (lambda chains: Reread([]), {}, "X holds no sequences"),
        (lambda chains: Reread([[], []]), {}, "X holds no sequences"),
        (Reread, {"lengths": [3]}, "drop lengths"),
        (Reread, {"groups": [3]}, "drop groups"),
        (Reread, {"sample_weight": np.ones(23)}, r"shape \(23,\), but X has more than 23 sequences"),
        (Reread, {"sample_weight": np.ones(25)}, r"shape \(25,\), but X has 24 sequences"),
        (Reread, {"sample_weight": -np.ones(24)}, "negative values, the first for sequence 0"),
        (Reread, {"sample_weight": np.zeros(24)}, "zero for every sequence"),
        (Reread, {"state_labels": [[0]]}, "state_labels stand beside sequences in memory"),
    ],
)
def test_what_is_wrong_is_named(chains, make, kwargs, message):
    with pytest.raises(ValueError, match=message):
        HMMEM(2, **SHORT).fit(make(chains), **kwargs)


def test_rows_of_files_are_no_sequences(chains, tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame(chains[0], columns=["a", "b"]).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match="rows of files"):
        HMMEM(2).fit(from_parquet(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("method", ["decode", "sample_states", "predict_next", "partial_fit"])
def test_what_takes_sequences_in_memory_says_so(chains, method):
    fitted = HMMEM(2, **SHORT).fit(chains)
    with pytest.raises(ValueError, match="X is in pieces, but this method of HMMEM takes sequences"):
        getattr(fitted, method)([chains[:3], chains[3:]])


def test_sequences_that_change_between_passes(chains):
    reads = []

    def fewer_each_time():
        reads.append(0)
        return iter(chains[len(reads) :])

    with pytest.raises(ValueError, match="must stay as it is"):
        HMMEM(2, **SHORT).fit(fewer_each_time)


# -- as data -----------------------------------------------------------------------------------------------


def in_memory(chains):
    weight = np.arange(1.0, len(chains) + 1)
    return Batches(np.concatenate(chains), weight, lengths=[len(x) for x in chains], rows=64)


def as_pieces(chains):
    parts, first = [], 0
    for some in (chains[:9], chains[9:]):
        weight = np.arange(first + 1.0, first + len(some) + 1)
        parts.append((np.concatenate(some), weight, [len(x) for x in some]))
        first += len(some)
    return Batches(parts, rows=64)


def test_batches_of_pieces_count_rows_and_sequences_throughout(chains):
    rows, data = np.concatenate(chains), as_pieces(chains)
    np.testing.assert_array_equal(data.lengths, [len(x) for x in chains])
    assert data.n_rows == len(rows)
    np.testing.assert_array_equal(data.weights(), in_memory(chains).weights())
    seen = []
    for batch in data:
        np.testing.assert_array_equal(batch.x.T, rows[batch.rows])
        for lane, number in enumerate(batch.sequences):
            np.testing.assert_array_equal(batch.x[:, batch.lanes.columns(lane)].T, chains[number])
        np.testing.assert_array_equal(batch.weight[: len(batch.sequences)], batch.sequences + 1.0)
        seen.extend(batch.sequences)
    assert sorted(seen) == list(range(len(chains)))
    positions = np.array([0, 3, 500, 501, len(rows) - 1])
    np.testing.assert_array_equal(data.recut(rows=50).take(positions), rows[positions])
    assert data.recut(rows=50).lengths.sum() == len(rows)
