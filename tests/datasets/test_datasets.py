"""The data sets: what DESCR and the docstrings promise about them."""

from importlib.resources import files

import numpy as np
import pytest

from emlearn.datasets import (
    load_airquality,
    load_cdnow,
    load_earthquakes,
    load_fed_funds,
    load_npreg,
    load_old_faithful,
    load_tone_perception,
)

LOADERS = [
    load_cdnow,
    load_old_faithful,
    load_earthquakes,
    load_airquality,
    load_tone_perception,
    load_npreg,
    load_fed_funds,
]


@pytest.mark.parametrize("load", LOADERS)
def test_bunch_follows_scikit_learn(load):
    bunch = load()
    assert bunch.data.dtype == np.float64
    assert bunch.data.shape[1] == len(bunch.feature_names)
    assert not np.isinf(bunch.data).any()
    assert np.isnan(bunch.data).sum() == {load_airquality: 44, load_fed_funds: 4}.get(load, 0)
    assert bunch.frame is None
    assert f"{len(bunch.data):,}" in bunch.DESCR
    assert "Source:" in bunch.DESCR
    assert all(name in bunch.DESCR for name in bunch.feature_names)


@pytest.mark.parametrize("load", LOADERS)
def test_frame_holds_the_same_numbers(load):
    pytest.importorskip("pandas")
    arrays, frames = load(), load(as_frame=True)
    assert frames.data.columns.tolist() == arrays.feature_names
    np.testing.assert_array_equal(frames.data.to_numpy(dtype=np.float64), arrays.data)
    for name in set(frames.frame.columns) - set(arrays.feature_names):
        entry = "target" if name in arrays.get("target_names", []) else name
        np.testing.assert_array_equal(frames.frame[name].to_numpy(), arrays[entry])
        assert frames.frame[name].dtype.kind == arrays[entry].dtype.kind
        assert frames[entry].equals(frames.frame[name])


@pytest.mark.parametrize("load", LOADERS)
def test_each_call_returns_its_own_arrays(load):
    before = load().data.copy()
    load().data[:] = -1
    np.testing.assert_array_equal(load().data, before)


@pytest.mark.parametrize("load", LOADERS)
def test_packed_file_carries_no_time(load):
    # Bytes 4 to 7 of a gzip file are its time stamp; zero keeps rebuilt files identical.
    packed = (files("emlearn.datasets") / "data" / load().filename).read_bytes()
    assert packed[4:8] == b"\0\0\0\0"


def test_cdnow():
    cdnow = load_cdnow()
    spend, n_orders, n_items = cdnow.data.T
    assert len(cdnow.data) == 23_502
    assert spend.sum() == pytest.approx(2_500_315.63)
    assert n_orders.sum() == 69_579
    assert n_items.sum() == 167_801
    assert (np.diff(cdnow.customer) > 0).all()
    assert cdnow.first_purchase.dtype == np.dtype("datetime64[D]")
    assert cdnow.first_purchase.min() == np.datetime64("1997-01-01")
    assert cdnow.last_purchase.max() == np.datetime64("1998-06-30")
    assert (cdnow.first_purchase <= cdnow.last_purchase).all()
    assert cdnow.last_purchase[2] == np.datetime64("1998-05-28")


def test_cdnow_frame_dtypes():
    pytest.importorskip("pandas")
    frame = load_cdnow(as_frame=True).frame
    kinds = [dtype.kind for dtype in frame.dtypes]
    assert list(zip(frame.columns, kinds, strict=True)) == [
        ("customer", "i"),
        ("total_spend", "f"),
        ("n_orders", "i"),
        ("n_items", "i"),
        ("first_purchase", "M"),
        ("last_purchase", "M"),
    ]


def test_old_faithful():
    data = load_old_faithful().data
    assert data.shape == (272, 2)
    np.testing.assert_allclose(data.mean(axis=0), [3.4877831, 70.8970588])


def test_earthquakes():
    bunch = load_earthquakes()
    assert bunch.data.shape == (107, 1)
    np.testing.assert_array_equal(bunch.year, np.arange(1900, 2007))
    assert bunch.data.sum() == 2072


def test_airquality():
    bunch = load_airquality()
    np.testing.assert_array_equal(np.isnan(bunch.data).sum(axis=0), [37, 7, 0, 0, 0, 0])
    np.testing.assert_allclose(
        np.nanmean(bunch.data, axis=0)[:4], [42.1293103, 185.9315068, 9.9575163, 77.8823529]
    )
    # Every day from 1 May to 30 September, in order.
    days = np.arange(np.datetime64("1973-05-01"), np.datetime64("1973-10-01"))
    month, day = bunch.data[:, 4:].T.astype(int)
    np.testing.assert_array_equal((days.astype("datetime64[M]").astype(int) % 12) + 1, month)
    np.testing.assert_array_equal((days - days.astype("datetime64[M]")).astype(int) + 1, day)


def test_airquality_frame_dtypes():
    pytest.importorskip("pandas")
    frame = load_airquality(as_frame=True).frame
    assert [dtype.kind for dtype in frame.dtypes] == list("ffffii")


def test_tone_perception():
    tones = load_tone_perception()
    assert tones.data.shape == (150, 1)
    assert tones.target.shape == (150,)
    assert tones.target.dtype == np.float64
    assert tones.feature_names == ["stretchratio"]
    assert tones.target_names == ["tuned"]
    assert "tuned" not in tones
    assert tones.data.sum() == pytest.approx(324.78)
    assert tones.target.sum() == pytest.approx(310.832)


def test_tone_perception_frame():
    pytest.importorskip("pandas")
    tones = load_tone_perception(as_frame=True)
    assert tones.frame.columns.tolist() == ["stretchratio", "tuned"]
    assert tones.target.name == "tuned"


def test_npreg():
    npreg = load_npreg()
    assert npreg.data.shape == (200, 1)
    assert npreg.data.sum() == pytest.approx(1006.155067)
    assert npreg.yn.sum() == pytest.approx(5721.395793)
    assert npreg.yp.sum() == 791
    np.testing.assert_array_equal(np.unique(npreg.yb, return_counts=True), [[0, 1], [105, 95]])
    np.testing.assert_array_equal(npreg.component, np.repeat([1, 2], 100))
    np.testing.assert_array_equal(npreg.id1, np.repeat(np.arange(1, 101), 2))
    np.testing.assert_array_equal(npreg.id2, np.repeat(np.arange(1, 51), 4))


def test_npreg_rows_lie_where_the_description_says():
    npreg = load_npreg()
    x = npreg.data[:, 0]
    first = npreg.component == 1
    mean = np.where(first, 5 * x, 15 + 10 * x - x**2)
    assert np.std(npreg.yn - mean) == pytest.approx(3.0, abs=0.5)
    rate = np.exp(np.where(first, 2 - 0.2 * x, 1 + 0.1 * x))
    assert np.mean((npreg.yp - rate) ** 2 / rate) == pytest.approx(1.0, abs=0.3)
    # The mean of 1 / (1 + exp(-|x - 5|)) is 0.86.
    assert np.mean((npreg.yb == 1) == (first == (x > 5))) == pytest.approx(0.86, abs=0.08)


def test_npreg_frame_dtypes():
    pytest.importorskip("pandas")
    frame = load_npreg(as_frame=True).frame
    assert frame.columns.tolist() == ["x", "yn", "yp", "yb", "component", "id1", "id2"]
    assert [dtype.kind for dtype in frame.dtypes] == list("ffiiiii")


def test_fed_funds_are_those_of_stata():
    rates = load_fed_funds()
    assert rates.target.sum() == pytest.approx(1226.73)
    np.testing.assert_array_equal(np.isnan(rates.data[:, 0]), np.arange(226) < 4)
    np.testing.assert_array_equal(np.diff(4 * rates.year + rates.quarter), 1)
