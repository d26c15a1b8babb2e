"""Where the time of a fit goes, in flame graphs, and how far its E-steps are from what the machine could do.

    python benchmarks/where_time_goes.py                     # all fits, pictures into doc/images
    python benchmarks/where_time_goes.py small chain         # some of them
    python benchmarks/where_time_goes.py --seconds 2 --folder /tmp

small
    `GaussianMixtureEM` on iris, three components.
large
    One start of `GaussianMixtureEM` on 200,000 rows of 10 features, ten components.
chain
    `HMMEM` on 50 sequences of 2,000 steps, two features, four states.
missing
    `GaussianMixtureEM` on 5,000 rows of 6 features, three components, a fifth of the entries missing.
regression
    `MixtureOfLinearRegressions` on the tone data, two components.

Stacks are looked at every millisecond from a second thread, and weighed with the processor time that the fit
took since the last look: what else the machine does makes pictures coarser, not different. E-steps are timed in
fits of their own, without the second thread; those of the same size count as the fastest tenth of them.
Bandwidth is that of STREAM's triad, the rate that of a product of two matrices, both by one thread, both the
best of some. Tables are reStructuredText. Needs matplotlib.
"""

import argparse
import linecache
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gaussian_mixture import Mixture, progress, rst_table, title, without_convergence_warnings
from sklearn.datasets import load_iris
from threadpoolctl import threadpool_limits

import emlearn
from emlearn import HMMEM, GaussianMixtureEM, MixtureOfLinearRegressions
from emlearn.datasets import load_tone_perception
from emlearn.em import EStep
from emlearn.em.batches import Batches

IMAGES = Path(__file__).resolve().parents[1] / "doc" / "images"
PACKAGE = Path(emlearn.__file__).parent
EVERY = 1e-3  # seconds between two looks
LEAST_SHARE = 0.004  # of what is drawn
HANDS_ON = 0.97  # share of a call's time in another, from which both are one box
JOINT = " › "  # between names of one box

# -- stacks ----------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A box of a flame graph: a function, or what a function of emlearn's had just been evaluating."""

    place: str  # a package of emlearn, "shell", or "library"
    name: str
    is_expression: bool = False


class Sampler:
    """Looks at the stack of the thread that enters it, and weighs what it sees with processor time.

    ``stacks`` are tuples of (code, offset of the instruction), the outermost first -> CPU seconds.
    """

    def __init__(self, every=EVERY):
        self.stacks = Counter()
        self._every = every
        self._is_over = threading.Event()

    def __enter__(self):
        self._watched = threading.get_ident()
        self._clock = processor_clock(self._watched)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._usual_switch = sys.getswitchinterval()
        sys.setswitchinterval(self._every / 10)  # or looks come late, and all at what lets go of the lock
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._is_over.set()
        self._thread.join()
        sys.setswitchinterval(self._usual_switch)

    def _watch(self):
        last = self._clock()
        while not self._is_over.wait(self._every):
            frame, stack = sys._current_frames()[self._watched], []
            now = self._clock()
            while frame is not None:
                stack.append((frame.f_code, frame.f_lasti))
                frame = frame.f_back
            self.stacks[tuple(reversed(stack))] += now - last
            last = now


def processor_clock(thread):
    """A function that tells the processor time of a thread; wall time where the system cannot tell."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.perf_counter
    number = time.pthread_getcpuclockid(thread)
    return lambda: time.clock_gettime(number)


@cache
def call_of(code):
    """The box of a function; None for what stands between others: the standard library, lambdas, scripts."""
    path = Path(code.co_filename)
    name = code.co_qualname.replace("<locals>.", "")
    if path.is_relative_to(PACKAGE):
        inner = path.relative_to(PACKAGE).parts
        place = inner[0] if len(inner) > 1 and not inner[0].startswith("_") else "shell"
        is_nameless = code.co_name.startswith("<") or code.co_name == "guarded_fit"
        return None if is_nameless else Call(place, name)
    if "site-packages" in path.parts:
        library = path.parts[path.parts.index("site-packages") + 1]
        return Call("library", f"{library}: {name}")
    return None


@cache
def expression_of(code, offset):
    """The source of what a function was evaluating, in one line; None where it is not known."""
    first, last, begin, end = next(islice(code.co_positions(), offset // 2, None))
    if None in (first, last, begin, end):
        return None
    # Columns are counted in bytes.
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][begin:]
    return " ".join(b" ".join(lines).decode().split()) or None


def calls_of(stack):
    """The boxes of a stack from emlearn's first function on; of a library only what emlearn calls."""
    calls = []
    for code, _ in stack:
        call = call_of(code)
        is_library = call is not None and call.place == "library"
        if call is None or (is_library and (not calls or calls[-1].place == "library")):
            continue
        calls.append(call)
    code, offset = stack[-1]
    if calls and Path(code.co_filename).is_relative_to(PACKAGE) and (source := expression_of(code, offset)):
        calls.append(Call(calls[-1].place, source, True))
    return tuple(calls)


class Box:
    """Time in a call, and in the calls that it makes."""

    def __init__(self):
        self.seconds = 0.0
        self.inner = {}

    def add(self, calls, seconds):
        self.seconds += seconds
        if calls:
            self.inner.setdefault(calls[0], Box()).add(calls[1:], seconds)

    @property
    def height(self):
        """How many calls stand on one another."""
        return max((1 + box.height for box in self.inner.values()), default=0)

    def simplified(self, least):
        """The same without what takes less than ``least`` seconds, and what only hands on in one box.

        Names of a call and of what takes nearly all of its time, in the same package, are joined.
        """
        kept = Box()
        kept.seconds = self.seconds
        for call, box in self.inner.items():
            if box.seconds < least:
                continue
            inner = box.simplified(least)
            name = call.name
            while len(inner.inner) == 1:
                ((last, innermost),) = inner.inner.items()
                is_alike = (last.place, last.is_expression) == (call.place, call.is_expression)
                if not is_alike or innermost.seconds < HANDS_ON * inner.seconds:
                    break
                # A function that calls itself through others is named once.
                name = JOINT.join(dict.fromkeys([*name.split(JOINT), *last.name.split(JOINT)]))
                inner.inner = innermost.inner
            kept.inner[call._replace(name=name)] = inner
        return kept


def merged(stacks):
    """Stacks as boxes in boxes, of those that emlearn is in."""
    root = Box()
    for stack, seconds in stacks.items():
        if calls := calls_of(stack):
            root.add(calls, seconds)
    return root


# -- what the time is for --------------------------------------------------------------------------------

STAGES = {
    "E-steps": {"Batches.sum"},
    "M-steps": {"Fits._images"},
    "starts": {"_begin", "portfolio"},
    "loop and race": {"race"},
}
REST = "the rest"


def stage_of(calls):
    names = {call.name for call in calls}
    return next((stage for stage, its in STAGES.items() if names & its), REST)


def shares(stacks):
    """Stage -> share of the time."""
    seconds = Counter()
    for stack, own in stacks.items():
        if calls := calls_of(stack):
            seconds[stage_of(calls)] += own
    return {stage: seconds[stage] / seconds.total() for stage in [*STAGES, REST]}


# -- pictures --------------------------------------------------------------------------------------------

COLOURS = {
    "em": "#f4a259",
    "latent": "#8cb369",
    "families": "#5b9bd5",
    "tasks": "#c39bd3",
    "shell": "#e3c567",
    "library": "#c9c9c9",
}
WORDS = {
    "em": "em: the loop",
    "latent": "latent: what is hidden",
    "families": "families: densities",
    "tasks": "mixture, hmm, regression",
    "shell": "base, input, sample",
    "library": "libraries",
}
WIDTH, ROW = 11.0, 0.2  # inches
FONT = 7.0  # points
LETTER = 0.56 * FONT / 72  # inches, on average


def colour_key(place):
    return place if place in COLOURS else "tasks"


def fitted_text(text, inches):
    """As much of a text as there is room for, of joined names the innermost; rather nothing than a letter."""
    room = int((inches - 0.05) / LETTER)
    if len(text) <= room:
        return text
    names = text.split(JOINT)
    for first in range(1, len(names)):
        shorter = f"…{JOINT}{JOINT.join(names[first:])}"
        if len(shorter) <= room:
            return shorter
    last = names[-1]
    if len(last) > room and last.replace(".", "").isidentifier():  # a name says more without its class
        last = last.split(".")[-1]
    if len(last) <= room:
        return last
    return f"{last[: room - 1]}…" if room >= 5 else ""


def draw(root, path, heading, least_share=LEAST_SHARE):
    """Save the flame graph of boxes: widths are shares of time, and what is called stands on what calls it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    root = root.simplified(least_share * root.seconds)
    height = root.height
    top, bottom = 0.3, 0.55
    figure = Figure(figsize=(WIDTH, ROW * height + top + bottom))
    FigureCanvasAgg(figure)
    inches = figure.get_size_inches()[1]
    axes = figure.add_axes((0.02, bottom / inches, 0.96, ROW * height / inches))
    axes.set(xlim=(0, 1), ylim=(0, height))

    def draw_inner(box, left, level):
        # Widest first: where the time goes is read from the left.
        for call, inner in sorted(box.inner.items(), key=lambda item: (-item[1].seconds, item[0])):
            share = inner.seconds / root.seconds
            colour = COLOURS[colour_key(call.place)]
            face = "white" if call.is_expression else colour
            edge = colour if call.is_expression else "white"
            axes.add_patch(
                Rectangle((left, level + 0.03), share, 0.94, facecolor=face, edgecolor=edge, linewidth=0.6)
            )
            style = {"family": "monospace"} if call.is_expression else {}
            axes.text(
                left + 0.025 / WIDTH,
                level + 0.47,
                fitted_text(call.name, 0.96 * share * WIDTH / (1.1 if call.is_expression else 1.0)).replace(
                    "$", r"\$"
                ),
                fontsize=FONT,
                verticalalignment="center",
                **style,
            )
            draw_inner(inner, left, level + 1)
            left += share

    draw_inner(root, 0.0, 0)
    axes.set_yticks([])
    ticks = np.linspace(0, 1, 11)
    axes.set_xticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks], fontsize=FONT)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    figure.suptitle(heading, fontsize=9, y=1 - 0.07 / inches, verticalalignment="top")
    handles = [Patch(color=COLOURS[key], label=WORDS[key]) for key in COLOURS]
    handles.append(Patch(facecolor="white", edgecolor="grey", label="source"))
    style = {"fontsize": FONT, "frameon": False, "handlelength": 1, "columnspacing": 1.2}
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), **style)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


# -- physical limits -------------------------------------------------------------------------------------


class Machine(NamedTuple):
    """What one thread can do."""

    bandwidth: float  # bytes a second
    rate: float  # floating-point operations a second


def least_time(function, repeats):
    """Least CPU seconds of some calls."""
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def triad_bandwidth(n=2**23, repeats=10):
    """Bytes a second of a = b + s·c, by blocks, so that s·c never leaves the cache."""
    a, b, c = np.zeros(n), np.ones(n), np.ones(n)
    size = 2**14
    product = np.empty(size)
    blocks = [slice(start, start + size) for start in range(0, n - n % size, size)]

    def triad():
        for block in blocks:
            np.multiply(c[block], 3.0, out=product)
            np.add(b[block], product, out=a[block])

    return 24 * size * len(blocks) / least_time(triad, repeats)


def product_rate(rows=1024, inner=1024, columns=1024, repeats=10):
    """Operations a second of the product of two matrices, (rows, inner) and (inner, columns)."""
    rng = np.random.default_rng(0)
    A, B, C = rng.random((rows, inner)), rng.random((inner, columns)), np.empty((rows, columns))
    return 2 * rows * inner * columns / least_time(lambda: np.matmul(A, B, out=C), repeats)


# -- E-steps ---------------------------------------------------------------------------------------------


class Work:
    """E-steps of some fits: what they were asked to do, and how long it took."""

    def __init__(self):
        self.seconds = {}  # (rows, fits side by side) -> CPU seconds of each pass over the rows

    def add(self, n_rows, n_fits, seconds):
        self.seconds.setdefault((n_rows, n_fits), []).append(seconds)

    @property
    def n_passes(self):
        return sum(map(len, self.seconds.values()))

    @property
    def rows_read(self):
        return sum(n_rows * len(each) for (n_rows, _), each in self.seconds.items())

    @property
    def rows_seen(self):
        """By each of the fits that stand side by side."""
        return sum(n_rows * n_fits * len(each) for (n_rows, n_fits), each in self.seconds.items())

    @property
    def undisturbed(self):
        """Seconds, had all of a size taken as long as the fastest tenth of them."""
        return sum(len(each) * np.quantile(each, 0.1) for each in self.seconds.values())

    def least_seconds(self, job, machine):
        """By bytes, and by operations."""
        return (
            self.rows_read * job.bytes_a_row / machine.bandwidth,
            self.rows_seen * job.flops_a_row / machine.rate,
        )


@contextmanager
def counted_work():
    """Count and time the E-steps of all fits inside."""
    work, whole_sum = Work(), Batches.sum

    def timed_sum(self, function):
        begin = time.process_time()
        result = whole_sum(self, function)
        if isinstance(result, EStep):
            work.add(self.n_rows, np.size(result.log_likelihood), time.process_time() - begin)
        return result

    Batches.sum = timed_sum
    try:
        yield work
    finally:
        Batches.sum = whole_sum


# -- fits ------------------------------------------------------------------------------------------------


class Job(NamedTuple):
    """A fit as it comes."""

    heading: str
    fit: object  # of a seed
    bytes_a_row: int  # read once by an E-step
    flops_a_row: int  # of log-densities, statistics and transitions of a row


def flops_of(n_statistics, K):
    """Two products of the statistics: with parameters, and with responsibilities."""
    return 4 * n_statistics * K


def n_moments(d):
    """One, d features and their products."""
    return 1 + d + d * (d + 1) // 2


def small():
    X = load_iris().data
    fit = lambda seed: GaussianMixtureEM(3, random_state=seed).fit(X)  # noqa: E731
    return Job("iris, 150 × 4, K = 3", fit, 8 * 4, flops_of(n_moments(4), 3))


def large():
    n, d, K = 200_000, 10, 10
    X = Mixture.random(d, K, seed=0).rows(n, np.random.default_rng(1))
    fit = lambda seed: GaussianMixtureEM(K, n_init=1, random_state=seed).fit(X)  # noqa: E731
    return Job("one start on 200,000 × 10, K = 10", fit, 8 * d, flops_of(n_moments(d), K))


def chain():
    n_sequences, T, d, K = 50, 2000, 2, 4
    rng = np.random.default_rng(0)
    emissions = Mixture.random(d, K, seed=0)
    states = rng.integers(K, size=(n_sequences, T))
    for t in range(1, T):  # a state lasts for ten steps
        states[:, t] = np.where(rng.random(n_sequences) < 0.9, states[:, t - 1], states[:, t])
    noise = np.einsum(
        "kij,ntj->kntij", np.linalg.cholesky(emissions.covariances), rng.normal(size=(n_sequences, T, d))
    )
    X = emissions.means[states] + np.take_along_axis(noise.sum(-1), states[None, ..., None], axis=0)[0]
    fit = lambda seed: HMMEM(K, random_state=seed).fit(list(X))  # noqa: E731
    # Forward, backward and expected transitions are 2 K² each.
    return Job("50 chains of 2,000 × 2, K = 4", fit, 8 * d, flops_of(n_moments(d), K) + 6 * K**2)


def missing():
    n, d, K = 5000, 6, 3
    rng = np.random.default_rng(1)
    X = Mixture.random(d, K, seed=0).rows(n, rng)
    X[rng.random(X.shape) < 0.2] = np.nan
    fit = lambda seed: GaussianMixtureEM(K, random_state=seed).fit(X)  # noqa: E731
    return Job("5,000 × 6, a fifth missing, K = 3", fit, 8 * d, flops_of(n_moments(d), K))


def regression():
    tones = load_tone_perception()
    X, y = np.asarray(tones.data, dtype=float), np.asarray(tones.target, dtype=float)
    fit = lambda seed: MixtureOfLinearRegressions(2, random_state=seed).fit(X, y)  # noqa: E731
    return Job("tone data, 150 × 1 and y, K = 2", fit, 8 * 2, flops_of(n_moments(2), 2))


JOBS = {"small": small, "large": large, "chain": chain, "missing": missing, "regression": regression}


def significant(number):
    """Two digits that count, without a power of ten."""
    return f"{float(f'{number:.2g}'):,.{max(0, 1 - int(np.floor(np.log10(number))))}f}"


def profile(name, job, machine, seconds, folder):
    """Draw a fit; a row of each table."""
    progress(name)
    begin, n_fits = time.process_time(), 0
    with counted_work() as work:
        while time.process_time() - begin < seconds / 2:
            job.fit(n_fits)
            n_fits += 1
    total = (time.process_time() - begin) / n_fits
    begin, seed = time.process_time(), 0
    with Sampler() as sampler:
        while time.process_time() - begin < seconds:
            job.fit(seed % n_fits)
            seed += 1
    draw(merged(sampler.stacks), folder / f"profile_{name}.png", job.heading)
    of_stages = [f"{100 * share:.0f}" for share in shares(sampler.stacks).values()]
    by_bytes, by_flops = (1e3 * limit / n_fits for limit in work.least_seconds(job, machine))
    e_steps = 1e3 * work.undisturbed / n_fits
    limits = [
        f"{work.n_passes / n_fits:,.0f}",
        f"{work.rows_seen / n_fits / 1e3:,.0f}",
        f"{job.bytes_a_row}",
        f"{job.flops_a_row:,}",
        significant(by_bytes),
        significant(by_flops),
        significant(e_steps),
        significant(e_steps / max(by_bytes, by_flops)),
    ]
    return [name, f"{1e3 * total:,.0f}", *of_stages], [name, *limits]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="job", help=", ".join(JOBS))
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds of stacks for each picture")
    parser.add_argument("--folder", type=Path, default=IMAGES)
    arguments = parser.parse_args()
    if unknown := set(arguments.jobs) - set(JOBS):
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    with threadpool_limits(1), without_convergence_warnings():
        machine = Machine(triad_bandwidth(), product_rate())
        print(f"One thread: {machine.bandwidth / 1e9:.1f} GB/s, {machine.rate / 1e9:.1f} Gflop/s.")
        thin = product_rate(10, n_moments(10), 4096, repeats=200)
        print(f"Products as of ten features, ten components and 4,096 rows: {thin / 1e9:.1f} Gflop/s.")
        small().fit(0)  # what is imported at the first call
        rows = [
            profile(name, JOBS[name](), machine, arguments.seconds, arguments.folder)
            for name in arguments.jobs or JOBS
        ]
    title("Where the time goes, per cent")
    print(rst_table(["fit", "CPU ms a fit", *STAGES, REST], [row for row, _ in rows]))
    title("E-steps beside the limit, a fit")
    columns = [
        "fit",
        "passes",
        "rows, 1000s",
        "bytes a row",
        "flops a row",
        "ms by bytes",
        "ms by flops",
        "CPU ms",
        "times",
    ]
    print(rst_table(columns, [row for _, row in rows]))


if __name__ == "__main__":
    main()
