"""Rows of Parquet and Arrow files, read piece by piece, and pieces written to Parquet, through pyarrow."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from queue import SimpleQueue
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

FloatArray = NDArray[np.float64]

# Rows of a piece: enough that what a piece costs beside its rows is small, few enough that some can be held.
PIECE_ROWS = 131_072
# Of files with many columns as many rows as make this many bytes.
PIECE_BYTES = 64 * 2**20
# Pieces that are read ahead.
AHEAD = 2
# Bytes of a column that are read, and rows that are decoded, at once: row groups are never held.
BUFFER_BYTES = 2**18
DECODED_ROWS = 16_384
# Bytes of a column in a page of what is written: whoever reads it holds a page of each column.
PAGE_BYTES = 2**18
FORMATS = {".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc"}


class FileRows:
    """Rows of files that can be passed over again and again, some at a time. `from_parquet` makes them.

    Iterating gives arrays of shape (m, n_features), or pairs of such an array and weights of shape (m,). While
    one is in use the next two are read by a thread, which ends with the iteration, however that ends. No file
    is open in between: these rows can be pickled and copied.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    n_features : int
        Number of features.
    feature_names : list of str
        Names of the columns.
    piece_rows : list of int
        Number of rows of each piece.
    """

    def __init__(
        self,
        parts: list[_Part],
        names: list[str],
        weight: str | None,
        rows: int,
        dtype: np.dtype[Any],
        title: str,
    ):
        self.feature_names = names
        self.n_features = len(names)
        self.piece_rows = _cut([group for part in parts for group in part.groups], rows)
        self.n_rows = sum(self.piece_rows)
        self._parts = parts
        self._weight = weight
        self._dtype = dtype
        self._title = title

    def __iter__(self) -> Iterator[Any]:
        return _read_ahead(self._pieces, AHEAD)

    def __repr__(self) -> str:
        weighted = "" if self._weight is None else f", weighted by {self._weight!r}"
        return (
            f"<{self.n_rows:,} rows of {self._title}: {self.n_features} features{weighted}, in "
            f"{len(self.piece_rows)} pieces>"
        )

    def _pieces(self) -> Generator[Any, None, None]:
        names = self.feature_names + ([] if self._weight is None else [self._weight])
        lengths = iter(self.piece_rows)
        n_free, first_row = 0, 0
        for part in self._parts:
            for batch in part.batches(names):
                start = 0
                while start < batch.num_rows:
                    if not n_free:
                        n_free = m = next(lengths)
                        x = np.empty((self.n_features, m), self._dtype)
                        w = None if self._weight is None else np.empty(m)
                        targets = [*x, *([] if w is None else [w])]
                    some = batch.slice(start, n_free)  # which ends with the batch
                    here = slice(m - n_free, m - n_free + some.num_rows)
                    for target, name in zip(targets, names, strict=True):
                        target[here] = part.values(some, name)
                    start += some.num_rows
                    n_free -= some.num_rows
                    if not n_free:
                        if w is not None:
                            _refuse_weights(w, self._weight, first_row)
                        yield x.T if w is None else (x.T, w)
                        first_row += m


class _Part(NamedTuple):
    """A file, or a table in memory."""

    title: str
    schema: Any  # of pyarrow
    groups: list[int]  # rows of each row group
    constants: dict[str, Any]  # columns that are a folder's name
    read: Callable[[list[str]], Generator[Any, None, None]]  # record batches of some columns, in order

    @property
    def names(self) -> list[str]:
        return [*self.schema.names, *self.constants]

    def batches(self, names: list[str]) -> Iterator[Any]:
        """Record batches with these columns, as many rows as there were; a ValueError if there are others."""
        n_rows, n_read = sum(self.groups), 0
        with closing(self.read([name for name in names if name not in self.constants])) as batches:
            for batch in batches:
                if not set(names) <= {*batch.schema.names, *self.constants}:
                    raise ValueError(f"{self.title} has other columns than before: it must stay as it is.")
                n_read += batch.num_rows
                if n_read > n_rows:
                    break
                yield batch
        if n_read != n_rows:
            found = f"more than {n_rows:,}" if n_read > n_rows else f"{n_read:,}"
            raise ValueError(
                f"{self.title} had {n_rows:,} rows, but {found} when read again: it must stay as it is "
                "while it is in use."
            )

    def values(self, batch: Any, name: str) -> Any:
        """A column as floats, NaN where it is null."""
        import pyarrow as pa

        if name in self.constants:
            value = self.constants[name]
            return np.nan if value is None else float(value)
        column = batch.column(name)
        if not (pa.types.is_float64(column.type) or pa.types.is_float32(column.type)):
            column = column.cast(pa.float64(), safe=False)  # of large integers the nearest float
        return column.to_numpy(zero_copy_only=False)

    def is_number(self, name: str) -> bool:
        """Whether a column can be read as floats."""
        import pyarrow as pa

        if name in self.constants:
            return isinstance(self.constants[name], (int, float, type(None)))
        kind, types = self.schema.field(name).type, pa.types
        if types.is_dictionary(kind):  # categories that are numbers
            kind = kind.value_type
        kinds = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal, types.is_null)
        return any(is_kind(kind) for is_kind in kinds)

    def kind_of(self, name: str) -> str:
        """Type of a column, in words."""
        return "text" if name in self.constants else str(self.schema.field(name).type)


@dataclass(frozen=True)
class _ReadParquet:
    """Reader of a Parquet file."""

    path: str
    filesystem: Any

    def __call__(self, names: list[str]) -> Generator[Any, None, None]:
        from pyarrow.parquet import ParquetFile

        with (
            self.filesystem.open_input_file(self.path) as source,
            ParquetFile(source, buffer_size=BUFFER_BYTES, pre_buffer=False) as file,
        ):
            if not names:  # nothing but names of folders
                yield _no_columns(file.metadata.num_rows)
            else:
                yield from file.iter_batches(DECODED_ROWS, columns=names, use_threads=False)


@dataclass(frozen=True)
class _ReadIPC:
    """Reader of a file in Arrow's IPC format, which Feather's is."""

    path: str
    filesystem: Any

    def __call__(self, names: list[str]) -> Generator[Any, None, None]:
        import pyarrow as pa
        from pyarrow.fs import LocalFileSystem

        is_local = isinstance(self.filesystem, LocalFileSystem)
        opened = pa.memory_map(self.path) if is_local else self.filesystem.open_input_file(self.path)
        with opened as source:
            with pa.ipc.open_file(source) as file:
                places = [file.schema.get_field_index(name) for name in names if name in file.schema.names]
            options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=places)
            source.seek(0)
            with pa.ipc.open_file(source, options=options) as file:
                for i in range(file.num_record_batches):
                    yield file.get_batch(i)


@dataclass(frozen=True)
class _ReadTable:
    """Reader of a table in memory."""

    table: Any

    def __call__(self, names: list[str]) -> Generator[Any, None, None]:
        yield from self.table.select(names).to_batches(DECODED_ROWS)


def _no_columns(n_rows: int) -> Any:
    import pyarrow as pa

    return pa.record_batch({"": pa.nulls(n_rows)})


# -- reading -------------------------------------------------------------------------------------------------


def from_parquet(
    path: Any,
    columns: Sequence[str] | str | None = None,
    *,
    weight: str | None = None,
    rows: int | None = None,
    dtype: DTypeLike = np.float64,
) -> FileRows:
    """Rows of Parquet files that need not fit into memory, for `fit_em`, estimators and loops of your own.

    Nothing but metadata is read here, and the rows a piece at a time whenever they are passed over. Where a
    piece ends depends on metadata and ``rows`` alone, not on ``columns``: pieces of several columns of one
    file, read by calls of their own, go together.

    Parameters
    ----------
    path : path-like, list of these, pyarrow.dataset.Dataset or pyarrow.Table
        A Parquet file, or one in Arrow's IPC (Feather) format, named ``.arrow``, ``.feather`` or ``.ipc``. A
        folder stands for the files in it and in folders within, by name, numbers by size; folders named as
        ``year=2024`` are a column. A list is read in its order. A URI such as ``s3://...`` is left to pyarrow.
    columns : list of str or str, default=None
        Columns that are features. None: all but the weights and an index of pandas.
    weight : str, default=None
        Column with the weight of each row. Pieces are then pairs (rows, weights).
    rows : int, default=None
        Most rows of a piece. Larger row groups are split evenly, and neighbours that fit into one piece are
        joined. None: 131,072, or fewer if the file has so many columns that they make more than 64 MB.
    dtype : {float64, float32}, default=float64
        Of the arrays. Integers, booleans, decimal numbers and categories that are numbers are read as floats;
        null becomes NaN.

    Returns
    -------
    rows : FileRows
        An iterable of arrays of shape (m, n_features), or of pairs of these and weights of shape (m,). It has
        ``n_rows``, ``n_features``, ``feature_names`` and ``piece_rows``, and holds no open file.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If columns are not there, are named twice, or hold something else than numbers; if there are no
        rows. While reading: if a file is no longer what it was, or weights are negative or not finite.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from emlearn.em import from_parquet, to_parquet
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = folder.name + "/flowers.parquet"
    >>> to_parquet(path, [np.ones((2, 2)), np.zeros((3, 2))], columns=["length", "width"])
    >>> flowers = from_parquet(path, ["width"])
    >>> flowers.n_rows, flowers.feature_names
    (5, ['width'])
    >>> sum(piece.sum() for piece in flowers)
    np.float64(2.0)
    >>> folder.cleanup()
    """
    _import_pyarrow("from_parquet")
    if rows is not None and (not isinstance(rows, (int, np.integer)) or rows < 1):
        raise ValueError(f"rows={rows!r} must be an integer, 1 or more: the most rows of a piece.")
    dtype = np.dtype(dtype)
    if dtype not in (np.float64, np.float32):
        raise ValueError(f"dtype={dtype} is neither float64 nor float32.")
    title, parts = _parts_of(path)
    if not parts:
        raise ValueError(f"{title} holds no files.")
    names = _features(parts, columns, weight)
    if not sum(sum(part.groups) for part in parts):
        raise ValueError(f"{title} holds no rows.")
    if rows is None:
        rows = int(np.clip(PIECE_BYTES // (8 * len(parts[0].names)), 1, PIECE_ROWS))
    return FileRows(parts, names, weight, int(rows), dtype, title)


def _import_pyarrow(name: str) -> ModuleType:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{name} needs pyarrow: install pyarrow (pip install pyarrow).") from error
    return pyarrow


def _parts_of(path: Any) -> tuple[str, list[_Part]]:
    """What a user gave, in words, and the parts that it consists of."""
    import pyarrow as pa
    from pyarrow import dataset as ds

    if isinstance(path, ds.InMemoryDataset):
        path = path.to_table()
    if isinstance(path, (pa.Table, pa.RecordBatch)):
        table = pa.Table.from_batches([path]) if isinstance(path, pa.RecordBatch) else path
        return "a table", [_Part("The table", table.schema, [table.num_rows], {}, _ReadTable(table))]
    if isinstance(path, ds.Dataset):
        try:
            return "a dataset", list(map(_part_of_file, path.get_fragments()))
        except ValueError as error:
            if "filtered" not in str(error):
                raise
            raise ValueError(
                "The dataset is filtered or projected, so that metadata do not say what rows it has: write it "
                "to a file first."
            ) from error
    if isinstance(path, (str, os.PathLike)):
        path = os.fspath(path)
        if "://" in path:
            fragments = ds.dataset(path, format=_format_of([path]), partitioning="hive").get_fragments()
            return path, list(
                map(_part_of_file, sorted(fragments, key=lambda fragment: _in_order(fragment.path)))
            )
        path = os.path.abspath(path)
        if os.path.isdir(path):
            files = _files_in(path)
            if not files:
                raise ValueError(f"Folder {path} holds no files named {', '.join(FORMATS)}.")
            return path, _open(files, base=path)
        return path, _open([path])
    if isinstance(path, (list, tuple)) and all(isinstance(item, (str, os.PathLike)) for item in path):
        files = [os.path.abspath(item) for item in path]
        return f"{len(files)} files", _open(files) if files else []
    raise ValueError(
        f"path is a {type(path).__name__}: give the path of a file or folder, a list of files, or a Dataset or "
        "Table of pyarrow. Estimators take data frames as they are."
    )


def _open(files: list[str], base: str | None = None) -> list[_Part]:
    """Parts for files that lie here; below ``base`` names of folders may be values."""
    import pyarrow as pa
    from pyarrow import dataset as ds

    for file in files:
        if not os.path.isfile(file):
            raise FileNotFoundError(f"There is no file {file}.")
    if base is None:  # with a schema, or pyarrow would make one, and fail where names are not unique
        dataset = ds.dataset(files, pa.schema([]), format=_format_of(files))
    else:
        dataset = ds.dataset(files, format=_format_of(files), partitioning="hive", partition_base_dir=base)
    return list(map(_part_of_file, dataset.get_fragments()))


def _files_in(folder: str) -> list[str]:
    """Paths of the data files in a folder and those within, in order; what begins with . or _ is left out."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [
            os.path.join(where, name)
            for name in files
            if name[0] not in "._" and os.path.splitext(name)[1].lower() in FORMATS
        ]
    return sorted(found, key=_in_order)


def _in_order(path: str) -> list[Any]:
    """A key that sorts part-2 before part-10."""
    return [int(word) if word.isdigit() else word for word in re.split(r"(\d+)", path)]


def _format_of(files: list[str]) -> str:
    formats = {FORMATS.get(os.path.splitext(file)[1].lower(), "parquet") for file in files}
    if len(formats) > 1:
        raise ValueError("There are Parquet files and Arrow IPC files: give a list of those of one format.")
    return formats.pop()


def _part_of_file(fragment: Any) -> _Part:
    from pyarrow import dataset as ds

    read: Callable[[list[str]], Generator[Any, None, None]]
    if isinstance(fragment, ds.ParquetFileFragment):
        groups = [group.num_rows for group in fragment.row_groups]
        read = _ReadParquet(fragment.path, fragment.filesystem)
    elif isinstance(getattr(fragment, "format", None), ds.IpcFileFormat):
        groups = [fragment.count_rows()]
        read = _ReadIPC(fragment.path, fragment.filesystem)
    else:
        raise ValueError(
            "The dataset is neither of Parquet files nor of Arrow IPC files: write it to a Parquet file first."
        )
    schema = fragment.physical_schema
    of_folders = ds.get_partition_keys(fragment.partition_expression)
    constants = {name: value for name, value in of_folders.items() if name not in schema.names}
    return _Part(fragment.path, schema, groups, constants, read)


def _features(parts: list[_Part], columns: Sequence[str] | str | None, weight: str | None) -> list[str]:
    """Names of the features, if all parts can give them as numbers."""
    first = parts[0]
    if columns is None:
        index = (first.schema.pandas_metadata or {}).get("index_columns", [])
        names = [name for name in first.names if name not in index and name != weight]
        if not names:
            raise ValueError(f"{first.title} has no columns for features: {first.names}.")
    else:
        names = [columns] if isinstance(columns, str) else list(columns)
        if not names:
            raise ValueError("columns is empty: name at least one, or leave it at None for all.")
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"columns {twice} are named twice{f' in {first.title}' * (columns is None)}.")
    if weight in names:
        raise ValueError(f"weight={weight!r} is one of the columns as well: leave it out of one of the two.")
    wanted = names + ([] if weight is None else [weight])
    for part in parts:
        missing = [name for name in wanted if name not in part.names]
        if missing:
            raise ValueError(f"{part.title} has no columns {missing}; it has {part.names}.")
        twice = [name for name in wanted if part.names.count(name) > 1]
        if twice:
            raise ValueError(f"{part.title} has several columns named {twice}: rename them.")
        others = sorted(set(part.names) - set(first.names))
        if columns is None and others:
            raise ValueError(
                f"{part.title} has columns {others}, which {first.title} does not have: say by `columns` which "
                "are meant."
            )
        bad = {name: part.kind_of(name) for name in wanted if not part.is_number(name)}
        if bad:
            listed = ", ".join(f"{name!r} ({kind})" for name, kind in bad.items())
            raise ValueError(
                f"{part.title} has columns that are no numbers: {listed}. Say by `columns` which are features, "
                "or encode them before."
            )
    return names


def _cut(groups: list[int], rows: int) -> list[int]:
    """Rows of each piece: of row groups that are split evenly, or joined as long as they fit."""
    pieces, joined = [], 0
    for group in groups:
        if joined and joined + group > rows:
            pieces.append(joined)
            joined = 0
        if group > rows:
            n = -(-group // rows)
            pieces += [group * (i + 1) // n - group * i // n for i in range(n)]
        else:
            joined += group
    return pieces + [joined] * (joined > 0)


def _refuse_weights(weights: FloatArray, name: str | None, first_row: int) -> None:
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(
            f"weight={name!r} is {weights[place]:g} in row {first_row + place}: weights must be finite and not "
            "negative."
        )


# -- reading ahead -------------------------------------------------------------------------------------------


class _Failed(NamedTuple):
    error: BaseException


_END = object()


def _read_ahead(make: Callable[[], Generator[Any, None, None]], ahead: int) -> Iterator[Any]:
    """What an iterator gives, up to ``ahead`` items before they are asked for, by a thread of its own.

    The thread ends with the iteration: at its end, by an error on either side, or when the iterator is dropped.
    """
    ready: SimpleQueue[Any] = SimpleQueue()
    room, is_over = threading.Semaphore(ahead), threading.Event()

    def read() -> None:
        try:
            with closing(make()) as items:
                while True:
                    room.acquire()
                    if is_over.is_set():
                        return
                    item = next(items, _END)
                    ready.put(item)
                    if item is _END:
                        return
        except BaseException as error:  # is the caller's
            ready.put(_Failed(error))

    # A daemon: at the end of the interpreter, an iterator that was never dropped must not hold it up.
    thread = threading.Thread(target=read, name="emlearn-read-ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Failed):
                raise item.error
            room.release()
            yield item
            del item  # or it would be held while the next one is waited for
    finally:
        is_over.set()
        room.release()
        thread.join()


# -- writing -------------------------------------------------------------------------------------------------


def to_parquet(path: str | os.PathLike[str], pieces: Any, columns: Sequence[str] | str | None = None) -> None:
    """Write pieces of a table to a Parquet file one after the other, without holding more than one of them.

    The file appears when it is complete, in place of what was there before. If anything fails, or is
    interrupted, nothing has changed.

    Parameters
    ----------
    path : path-like
        Where the file goes.
    pieces : iterable of arrays or data frames
        Arrays of shape (m,) or (m, n_columns), frames of pandas or polars, or tables of pyarrow, all of the
        same columns and types; each becomes a row group. One array or frame alone is one piece.
    columns : list of str or str, default=None
        Names of the columns. None: those of a frame, or x0, x1, ... for arrays.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    ValueError
        If there are no pieces, or one has other columns or types than the first.

    Examples
    --------
    Labels of rows in a file, written as they are found:

    >>> import tempfile
    >>> import numpy as np
    >>> from emlearn import GaussianMixtureEM
    >>> from emlearn.em import from_parquet, to_parquet
    >>> folder = tempfile.TemporaryDirectory()
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) + np.repeat([[0], [9], [18]], 100, axis=0)
    >>> to_parquet(folder.name + "/rows.parquet", X)
    >>> mixture = GaussianMixtureEM(3, random_state=0).fit(X)
    >>> rows = from_parquet(folder.name + "/rows.parquet", rows=100)
    >>> to_parquet(folder.name + "/labels.parquet", (mixture.predict(piece) for piece in rows), ["label"])
    >>> labels = from_parquet(folder.name + "/labels.parquet")
    >>> labels.feature_names, labels.n_rows
    (['label'], 300)
    >>> folder.cleanup()
    """
    _import_pyarrow("to_parquet")
    names = [columns] if isinstance(columns, str) else None if columns is None else list(columns)
    path = os.path.abspath(path)
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder: give the path of a file.")
    if _is_table(pieces):
        pieces = [pieces]
    elif not isinstance(pieces, Iterable) or isinstance(pieces, (str, bytes)):
        raise ValueError(f"pieces is a {type(pieces).__name__}: give an iterable of arrays or data frames.")
    folder, name = os.path.split(path)
    beside = os.path.join(folder, f".{name}.{secrets.token_hex(4)}.part")
    try:
        with ExitStack() as stack:
            writer = None
            for number, piece in enumerate(pieces):
                table = _table_of(piece, names, number)
                if writer is None:
                    schema = table.schema
                    writer = stack.enter_context(_writer(beside, schema))
                elif table.schema.names != schema.names or table.schema.types != schema.types:
                    raise ValueError(
                        f"Piece {number} has columns {_in_words(table.schema)}, but those before have "
                        f"{_in_words(schema)}."
                    )
                if table.num_rows:
                    writer.write_table(table, row_group_size=table.num_rows)
            if writer is None:
                raise ValueError("There are no pieces to write.")
        os.replace(beside, path)
    finally:  # what is there now was not finished
        if os.path.exists(beside):
            os.remove(beside)


def _writer(path: str, schema: Any) -> Any:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    # Floats that differ would fill a dictionary that is then of no use.
    with_dictionary = [field.name for field in schema if not pa.types.is_floating(field.type)]
    return ParquetWriter(path, schema, use_dictionary=with_dictionary, data_page_size=PAGE_BYTES)


def _is_table(item: Any) -> bool:
    return hasattr(item, "__array__") or hasattr(item, "__dataframe__")


def _in_words(schema: Any) -> str:
    return ", ".join(f"{field.name!r} ({field.type})" for field in schema)


def _table_of(piece: Any, names: list[str] | None, number: int) -> Any:
    """A piece as a table of pyarrow."""
    import pyarrow as pa

    if isinstance(piece, (pa.Table, pa.RecordBatch)):
        table = pa.Table.from_batches([piece]) if isinstance(piece, pa.RecordBatch) else piece
    elif hasattr(piece, "to_arrow"):  # of polars
        table = piece.to_arrow()
        table = table if isinstance(table, pa.Table) else pa.table({piece.name or "x0": table})
    elif hasattr(piece, "iloc") and hasattr(piece, "columns"):  # of pandas
        table = pa.Table.from_pandas(piece, preserve_index=False).replace_schema_metadata(None)
    else:
        array = np.asarray(piece)
        if array.ndim not in (1, 2):
            raise ValueError(
                f"Piece {number} has shape {array.shape}: give arrays of shape (m,) or (m, n_columns)."
            )
        arrays = [array] if array.ndim == 1 else list(array.T)
        return _named([pa.array(np.ascontiguousarray(column)) for column in arrays], names, number)
    return table if names is None else _named(table.columns, names, number)


def _named(arrays: list[Any], names: list[str] | None, number: int) -> Any:
    import pyarrow as pa

    if names is None:
        names = [f"x{j}" for j in range(len(arrays))]
    if len(names) != len(arrays):
        raise ValueError(f"Piece {number} has {len(arrays)} columns, but columns names {len(names)}: {names}.")
    return pa.Table.from_arrays(arrays, names=names)
