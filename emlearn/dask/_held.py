"""Blocks on their workers, one group for each thread: read once, and asked for sums pass by pass."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emlearn._input.sequences import Part
from emlearn._version import __version__
from emlearn.dask._blocks import JOINED_ROWS, NO_ROWS, Bad, Blocks, check_width, read_head, together
from emlearn.dask._sequences import NO_SEQUENCES, SequenceBlocks, joined_sequences, weights_of_all
from emlearn.dask._tasks import (
    as_bytes,
    first_steps,
    head_of,
    lengths_of,
    read_group,
    read_sequence_group,
    seen_of,
    shapes_of,
)
from emlearn.em.batches import KEEP_BYTES


class Held:
    """Blocks on their workers, one group for each thread: what all cuts of the same rows share.

    Attributes
    ----------
    client : distributed.Client
    groups : list of Future
        Of `Group`.
    workers : list of str
        Address of the worker of each group.
    places : list of list of int
        Which blocks each group has.
    lengths, starts : ndarray of int of shape (n_blocks,)
        Rows of each block, and the first of them.
    firsts : list of list of (int, int)
        First row, and first sequence, of the blocks of each group.
    sequence_lengths : ndarray of int of shape (n_sequences,), or None
        Lengths of the sequences that rows make up.
    """

    sequence_lengths: NDArray[np.intp] | None = None

    def __init__(self, client: Any):
        self.client = client

    def read(self, blocks: Blocks | SequenceBlocks, read: Callable[..., tuple[Any, ...]]) -> None:
        """Have all blocks computed, and read where they are."""
        with self._spoken():
            raw = blocks.submitted(self.client)
            try:
                lengths = self._lengths_of(raw)
                first = int(np.argmax(np.array(lengths) > 0))
                self._read_head(raw[first], first, read)
                runs = list(self._runs(enumerate(lengths)))
                self._read_in_groups(raw, runs, lengths, as_bytes(read))
            except BaseException:  # Ctrl-C among others: what has not begun does not
                self._cancel(raw)
                raise

    def _runs(self, blocks: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
        """Numbers of blocks that are joined, from these and their lengths."""
        return together(blocks, JOINED_ROWS)

    def _read_head(self, block: Any, number: int, read: Callable[..., tuple[Any, ...]]) -> None:
        read_head(self.client.submit(head_of, block, pure=False).result(), number, read)

    def _asked(self, raw: list[Any], look: Callable[..., tuple[list[Any], str]]) -> list[Any]:
        """What a look at blocks tells of each; each worker is asked once."""
        shapes: list[Any] = [None] * len(raw)
        by_worker = self._by_worker(raw)
        asked = [self._at(worker, look, *[raw[i] for i in numbers]) for worker, numbers in by_worker.items()]
        for (worker, numbers), (found, version) in zip(
            by_worker.items(), self.client.gather(asked), strict=True
        ):
            if version != __version__:
                raise RuntimeError(
                    f"The worker at {worker} has emlearn {version}, but here it is {__version__}: install the "
                    "same on all."
                )
            for i, shape in zip(numbers, found, strict=True):
                shapes[i] = shape
        for shape in shapes:
            if isinstance(shape, Bad):
                shape.refuse()
        return shapes

    def _lengths_of(self, raw: list[Any]) -> list[int]:
        """Lengths of blocks, which must have the same width."""
        shapes = self._asked(raw, shapes_of)
        filled = [(number, width) for number, (n_rows, width) in enumerate(shapes) if n_rows]
        if not filled:
            raise ValueError(NO_ROWS)
        for number, width in filled:
            check_width(number, width, filled[0][1])
        return [n_rows for n_rows, _ in shapes]

    def _by_worker(self, futures: list[Any]) -> dict[str | None, list[int]]:
        """Which of some futures lie where, once they are computed."""
        from distributed import wait

        wait(futures)
        for future in futures:
            if future.status != "finished":
                future.result()  # which says why not
        lie = self.client.who_has(futures)
        by_worker: dict[str | None, list[int]] = {}
        for i, future in enumerate(futures):
            holders = sorted(lie.get(future.key, ()))  # none, if it was lost just now: then anywhere will do
            by_worker.setdefault(holders[0] if holders else None, []).append(i)
        return by_worker

    def _at(self, worker: str | None, task: Callable[..., Any], *arguments: Any) -> Any:
        """A task at a worker, or at any if that one has gone."""
        where = {} if worker is None else {"workers": [worker], "allow_other_workers": True}
        return self.client.submit(task, *arguments, pure=False, **where)

    def _read_in_groups(
        self, raw: list[Any], runs: list[list[int]], lengths: list[int], pickled: bytes
    ) -> None:
        """Read blocks, run by run; each thread has its share of what lies on its worker."""
        self.lengths = np.array([sum(lengths[i] for i in run) for run in runs], dtype=np.intp)
        self.starts = np.cumsum(self.lengths) - self.lengths
        n_threads = self.client.nthreads()
        self.workers, self.places, of_group = [], [], []
        for worker, numbers in self._by_worker([raw[run[0]] for run in runs]).items():
            shares: list[list[int]] = [[] for _ in range(min(n_threads.get(worker, 1), len(numbers)))]
            for i in sorted(numbers, key=lambda i: -self.lengths[i]):  # the largest first, to the idlest
                min(shares, key=lambda share: self.lengths[share].sum()).append(i)
            for share in shares:
                self.workers.append(worker)
                self.places.append(sorted(share))
                of_group.append(len(shares))
        self.keep_bytes = [KEEP_BYTES / n for n in of_group]  # of a worker's budget
        self.firsts = [[self._first_of(i, runs[i]) for i in places] for places in self.places]
        self.groups = []
        for worker, places in zip(self.workers, self.places, strict=True):
            mine = [runs[i] for i in places]
            blocks = [raw[number] for run in mine for number in run]
            self.groups.append(self._at(worker, *self._reading(mine, pickled), *blocks))
        seen = self.in_order(seen_of, self.groups)
        for one in seen:
            if isinstance(one, Bad):
                one.refuse()
        self.n_features = seen[0][0]
        self.dtype = np.result_type(*{dtype for _, dtype, _ in seen})
        self.is_weighted = seen[0][2]

    def _first_of(self, block: int, run: list[int]) -> tuple[int, int]:
        """First row and first sequence of a block, which is a run of those that were given."""
        return int(self.starts[block]), 0

    def _reading(self, runs: list[list[int]], pickled: bytes) -> tuple[Any, ...]:
        """What reads these runs of blocks, and what it has to know before these."""
        return read_group, pickled, runs

    def tasks(self, task: Callable[..., Any], groups: list[Any], *arguments: Sequence[Any]) -> list[Any]:
        """A task for each group, with its part of the arguments."""
        with self._spoken():
            return self.client.map(task, groups, *arguments, pure=False)

    def in_order(self, task: Callable[..., Any], groups: list[Any], *arguments: Sequence[Any]) -> list[Any]:
        """What a task makes of each block, in their order; a task gives a list for the blocks of its group."""
        results: list[Any] = [None] * len(self.lengths)
        with self._spoken():
            futures = self.client.map(task, groups, *arguments, pure=False)
            try:
                gathered = self.client.gather(futures)
            except BaseException:  # Ctrl-C among others: what has not begun does not
                self._cancel(futures)
                raise
        for places, group in zip(self.places, gathered, strict=True):
            made = pickle.loads(group) if isinstance(group, bytes) else group
            for i, result in zip(places, made, strict=True):
                results[i] = result
        return results

    def _cancel(self, futures: list[Any]) -> None:
        if self.client.status == "running":
            with suppress(Exception):
                self.client.cancel(futures)

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """Errors of the cluster in words that say what to do."""
        from concurrent.futures import CancelledError

        from distributed import KilledWorker
        from distributed.client import ClosedClientError
        from distributed.comm import CommClosedError

        try:
            yield
        except KilledWorker as error:
            raise RuntimeError(
                f"Workers died over and over at the same task ({error.task}), most likely for want of memory. "
                "Blocks stay on the workers while a model is fitted: give smaller blocks, more workers, or "
                "workers with more memory."
            ) from error
        except (CancelledError, ClosedClientError, OSError) as error:
            gone = isinstance(error, (ClosedClientError, CommClosedError)) or "scheduler" in _reason(error)
            if gone or self.client.status != "running":
                raise ConnectionError(
                    f"The connection to the scheduler at {self._address} is lost. The estimator is as it was: "
                    "make a new Client, and fit again."
                ) from error
            if isinstance(error, CancelledError):
                raise RuntimeError(
                    f"Blocks of X are lost, and cannot be computed again ({_reason(error)}). If they were "
                    "scattered, or are futures of arrays that were, they went with their worker: give a "
                    "collection with a recipe, as from_parquet, from_zarr or from_delayed make it."
                ) from error
            raise

    @property
    def _address(self) -> str:
        scheduler = getattr(self.client, "scheduler", None)
        return str(getattr(scheduler, "address", "?"))


class HeldSequences(Held):
    """The same of sequences, which have weights as a whole and are never cut."""

    def __init__(self, client: Any, weight: Any):
        super().__init__(client)
        self._weight = weight

    def _runs(self, blocks: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
        return joined_sequences(blocks)

    def _lengths_of(self, raw: list[Any]) -> list[int]:
        blocks = self._asked(raw, lengths_of)
        self.sequence_lengths = np.array([steps for block in blocks for steps in block], dtype=np.intp)
        n_sequences = len(self.sequence_lengths)
        if not n_sequences:
            raise ValueError(NO_SEQUENCES)
        self._weight = weights_of_all(self._weight, n_sequences)
        self._bounds = np.append(0, np.cumsum([len(block) for block in blocks]))
        return [sum(max(steps, 1) for steps in block) for block in blocks]  # as `size_of` counts them

    def _read_head(self, block: Any, number: int, read: Callable[..., tuple[Any, ...]]) -> None:
        read(Part([self.client.submit(first_steps, block, pure=False).result()]), None, first=True)

    def _first_of(self, block: int, run: list[int]) -> tuple[int, int]:
        return int(self.starts[block]), int(self._bounds[run[0]])

    def _reading(self, runs: list[list[int]], pickled: bytes) -> tuple[Any, ...]:
        parts = []
        for run in runs:
            first, last = int(self._bounds[run[0]]), int(self._bounds[run[-1] + 1])
            parts.append((len(run), first, None if self._weight is None else self._weight[first:last]))
        return read_sequence_group, pickled, parts


def _reason(error: BaseException) -> str:
    """Why futures are cancelled, in Dask's words."""
    groups = getattr(error, "error_groups", ())
    return str(groups[0].reason if groups else getattr(error, "reason", ""))
