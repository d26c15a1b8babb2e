"""The pieces of the script that draws where the time of a fit goes."""

import importlib.util
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from emlearn import GaussianMixtureEM
from emlearn.em.batches import Batches

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "where_time_goes.py"
X = np.random.RandomState(0).normal(size=(100, 2)) + 6 * (np.arange(100) % 2)[:, None]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        spec = importlib.util.spec_from_file_location("where_time_goes", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def looked_at(script):
    """Stacks of some fits, and the processor time that these took."""
    model = GaussianMixtureEM(2, random_state=0)
    clock = script.processor_clock(threading.get_ident())
    begin = clock()
    with script.Sampler() as sampler:
        while clock() - begin < 0.6:  # on a busy machine looks are few
            model.fit(X)
    return sampler.stacks, clock() - begin


def all_boxes(box):
    for call, inner in box.inner.items():
        yield call, inner
        yield from all_boxes(inner)


def test_sampler_gives_away_the_time_of_its_thread(looked_at):
    stacks, seconds = looked_at
    assert 0.5 * seconds < sum(stacks.values()) <= 1.01 * seconds


def test_stacks_are_merged_into_one_fit(script, looked_at):
    stacks, _ = looked_at
    root = script.merged(stacks)
    assert len(root.inner) == 1
    boxes = dict(all_boxes(root))
    assert script.Call("em", "Batches.sum") in boxes
    assert script.Call("em", "Fits.advance") in boxes
    assert {"em", "families", "shell", "mixture"} <= {call.place for call in boxes}
    for box in boxes.values():
        assert sum(inner.seconds for inner in box.inner.values()) <= box.seconds * (1 + 1e-9)


def test_shares_are_of_all_stages_and_all_time(script, looked_at):
    shares = script.shares(looked_at[0])
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares[stage] for stage in ("E-steps", "M-steps", "starts", "loop and race")) > 0


def test_short_calls_are_left_out_and_those_that_hand_on_are_one(script):
    a, b, c = (script.Call("em", name) for name in "abc")
    other, short = script.Call("families", "other"), script.Call("em", "short")
    root = script.Box()
    for calls, seconds in [((a, b, c), 5.0), ((a, b, a, other), 4.9), ((a, short), 0.1)]:
        root.add(calls, seconds)
    assert root.height == 4
    simple = root.simplified(0.2)
    ((call, box),) = simple.inner.items()
    assert (call.name, box.seconds) == ("a › b", 10.0)
    assert {inner.name for inner in box.inner} == {"c", "a"}  # of another package, other stays a box of its own
    assert simple.height == 3


def test_source_of_what_is_evaluated(script):
    seen = []

    def look():
        frame = sys._getframe(1)
        seen.append(script.expression_of(frame.f_code, frame.f_lasti))
        return 1

    _ = 2 + look() * 3
    assert seen == ["look()"]


def test_text_fits_its_box(script):
    name = "First.begin › Second.go_on"
    assert script.fitted_text(name, 5.0) == name
    for inches in np.linspace(0.05, 2, 40):
        assert len(script.fitted_text(name, inches)) * script.LETTER <= inches
    assert script.fitted_text(name, 0.6) == "go_on"
    assert script.fitted_text("some.array[:, rows]", 0.6) == "some.arra…"  # source is cut, not taken apart


def test_picture(script, looked_at, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "images" / "fit.png"
    script.draw(script.merged(looked_at[0]), path, "two blobs, and $ in a heading", least_share=0.03)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert 5_000 < path.stat().st_size < 150_000


def test_work_of_e_steps_is_counted(script):
    whole_sum = Batches.sum
    with script.counted_work() as work:
        model = GaussianMixtureEM(2, random_state=0, n_init=1).fit(X)
    assert Batches.sum is whole_sum
    assert work.n_passes >= model.n_iter_
    assert work.rows_read == 100 * work.n_passes
    assert work.rows_seen >= work.rows_read
    assert work.undisturbed > 0
    job = script.Job("two blobs", None, 16, 48)
    by_bytes, by_flops = work.least_seconds(job, script.Machine(bandwidth=1e9, rate=1e10))
    assert by_bytes == pytest.approx(16e-9 * work.rows_read)
    assert by_flops == pytest.approx(48e-10 * work.rows_seen)


def test_limits_of_the_machine(script):
    assert 1e8 < script.triad_bandwidth(n=2**18, repeats=2) < 1e13
    assert 1e7 < script.product_rate(8, 16, 64, repeats=2) < 1e13


@pytest.mark.parametrize(
    ("number", "text"), [(0.0123, "0.012"), (4.56, "4.6"), (58.7, "59"), (24_312.0, "24,000")]
)
def test_two_digits(script, number, text):
    assert script.significant(number) == text


def test_page_shows_every_fit(script):
    page = (SCRIPT.parents[1] / "doc" / "profile.rst").read_text("utf-8")
    for name in script.JOBS:
        picture = script.IMAGES / f"profile_{name}.png"
        assert f"images/{picture.name}" in page
        assert picture.stat().st_size < 150_000
