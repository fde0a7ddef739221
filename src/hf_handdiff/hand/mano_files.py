"""Reading the official MANO files without chumpy and without running anything that is in them.

``MANO_RIGHT.pkl`` is a Python 2 pickle with chumpy arrays inside; chumpy no longer installs, and unpickling
runs whatever code the file names.  The unpickler admits numpy arrays, scipy's sparse matrices and inert
stand-ins for chumpy arrays, and refuses everything else by name.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.hand.pickles import (
    ARRAYS_AND_CONTAINERS,
    DAMAGED_PICKLE_ERRORS,
    RefusedPickleError,
    load_restricted_pickle,
)
from hf_handdiff.hand.topology import MANO_FINGERS, MANO_PARENTS, NUM_ROTATIONS, NUM_SHAPE

_MANO_VERTICES = 778
_POSE_FEATURES = 9 * (NUM_ROTATIONS - 1)
_REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")


class _StandIn:
    """An object of which only the state is kept; it has no behaviour of the class that it stands for."""

    state: dict[str, Any]

    def __new__(cls, *arguments: Any) -> _StandIn:
        instance = super().__new__(cls)
        instance.state = {}
        return instance

    def __init__(self, *arguments: Any):
        pass  # the state comes by __setstate__

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # (dict, slots)
            parts = [part for part in state if part is not None]
        else:
            parts = [state]
        for part in parts:
            if not isinstance(part, dict):
                raise ValueError(f"the state of {self.describe()} is a {type(part).__name__}, not a dict")
            self.state.update(part)

    def describe(self) -> str:
        return "an object"

    def field(self, name: str) -> Any:
        if name not in self.state:
            raise ValueError(f"{self.describe()} has no field {name!r}")
        return self.state[name]


class _ChumpyArray(_StandIn):
    """``chumpy.ch.Ch``: its values are in the field ``x``."""

    def describe(self) -> str:
        return "a chumpy array"

    def evaluate(self) -> np.ndarray:
        return _to_array(self.field("x"))


class _ChumpySelect(_StandIn):
    """``chumpy.reordering.Select``: some entries of another array, in another shape."""

    def describe(self) -> str:
        return "a chumpy selection"

    def evaluate(self) -> np.ndarray:
        values = _to_array(self.field("a")).ravel()[_to_array(self.field("idxs")).astype(np.int64)]
        shape = self.state.get("preferred_shape")
        return values if shape is None else values.reshape(tuple(int(n) for n in shape))


class _SparseMatrix(_StandIn):
    """A compressed sparse matrix of scipy; ``compressed_axis`` is the axis whose indices are pointers."""

    compressed_axis = 0

    def describe(self) -> str:
        return "a sparse matrix"

    def evaluate(self) -> np.ndarray:
        shape = self.state.get("_shape", self.state.get("shape"))
        if shape is None:
            raise ValueError("a sparse matrix has no shape")
        shape = tuple(int(n) for n in shape)
        pointers, indices = (_to_array(self.field(n)).astype(np.int64) for n in ("indptr", "indices"))
        data = _to_array(self.field("data"))
        if len(pointers) != shape[self.compressed_axis] + 1:
            raise ValueError("a sparse matrix has pointers that do not fit its shape")
        dense = np.zeros(shape, data.dtype)
        major = np.repeat(np.arange(shape[self.compressed_axis]), np.diff(pointers))
        position = (major, indices) if self.compressed_axis == 0 else (indices, major)
        np.add.at(dense, position, data[: len(major)])
        return dense


class _CsrMatrix(_SparseMatrix):
    compressed_axis = 0


class _CscMatrix(_SparseMatrix):
    compressed_axis = 1


def _reconstruct_stand_in(cls: type, base: type, state: Any) -> _StandIn:
    """What Python 2's ``copy_reg._reconstructor`` does, for stand-ins only."""
    if not (isinstance(cls, type) and issubclass(cls, _StandIn)) or base is not object or state is not None:
        raise ValueError("it rebuilds an object in a way that no MANO file does")
    return cls()


_ADMITTED: dict[tuple[str, str], Any] = ARRAYS_AND_CONTAINERS | {
    ("chumpy.ch", "Ch"): _ChumpyArray,
    ("chumpy", "Ch"): _ChumpyArray,
    ("chumpy.reordering", "Select"): _ChumpySelect,
    ("__builtin__", "object"): object,
    ("builtins", "object"): object,
}
for _module in ("copy_reg", "copyreg"):
    _ADMITTED[_module, "_reconstructor"] = _reconstruct_stand_in
for _module, _name, _class in (("csc", "csc_matrix", _CscMatrix), ("csr", "csr_matrix", _CsrMatrix)):
    for _path in (f"scipy.sparse.{_module}", f"scipy.sparse._{_module}", "scipy.sparse"):
        _ADMITTED[_path, _name] = _class


def _to_array(value: Any) -> np.ndarray:
    """Numbers of any admitted kind as a plain array."""
    if isinstance(value, _StandIn):
        value = value.evaluate()
    array = np.asarray(value)
    if array.dtype == object:
        raise ValueError("it holds an array of objects where numbers were expected")
    return array


def read_mano_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an official MANO pickle.

    Nothing in the file is run and nothing is imported for it.

    Args:
        path: ``MANO_RIGHT.pkl`` or a pickle of the same kind.

    Returns:
        The entries of the pickled dictionary as arrays; chumpy arrays are evaluated, sparse matrices dense.

    Raises:
        RefusedPickleError: the pickle asks for anything but arrays; the message names it.
        ValueError: the file is no pickle of a dictionary of arrays.
    """
    content = _file_content(path)
    try:
        pickled = load_restricted_pickle(content, "MANO file", _ADMITTED)
        return {str(name): _to_array(value) for name, value in pickled.items()}
    except RefusedPickleError as error:
        raise RefusedPickleError(f"MANO file {path} was refused: {error}") from None
    except DAMAGED_PICKLE_ERRORS as error:
        raise ValueError(f"MANO file {path} is not a readable MANO pickle: {error}") from None


def _file_content(path: str | Path) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"MANO file {path} does not exist")
    return path.read_bytes()


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(_file_content(path)), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"MANO file {path} is not a readable npz file: {error}") from None


def load_mano_file(path: str | Path) -> dict[str, np.ndarray]:
    """The checked arrays of a right MANO hand from a pickle or an npz file.

    Args:
        path: a file whose name ends in ``.npz``, or else a pickle.

    Returns:
        MANO's arrays under their names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not a right MANO hand; one sentence says why.
    """
    arrays = _read_npz(path) if Path(path).suffix.lower() == ".npz" else read_mano_pickle(path)
    problem = find_problem(arrays)
    if problem:
        raise ValueError(f"MANO file {path} is not a right MANO hand: {problem}")
    return arrays


def find_problem(arrays: dict[str, np.ndarray]) -> str | None:
    """What keeps arrays from being a right MANO hand, in words, or None."""
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing == ["posedirs"]:
        missing = []  # a hand without pose blend shapes, as the open hand's full resolution
    if missing:
        return f"{', '.join(missing)} missing"
    if np.ndim(arrays["v_template"]) != 2:
        return f"v_template has shape {np.shape(arrays['v_template'])}, expected (778, 3)"
    count = len(arrays["v_template"]) if "tips" in arrays else _MANO_VERTICES
    expected = {
        "v_template": (count, 3),
        "posedirs": (count, 3, _POSE_FEATURES),
        "J_regressor": (NUM_ROTATIONS, count),
        "weights": (count, NUM_ROTATIONS),
        "kintree_table": (2, NUM_ROTATIONS),
    }
    for name, shape in expected.items():
        if name in arrays and np.shape(arrays[name]) != shape:
            return f"{name} has shape {np.shape(arrays[name])}, expected {shape}"
    shapedirs, faces = np.shape(arrays["shapedirs"]), arrays["f"]
    if len(shapedirs) != 3 or shapedirs[:2] != (count, 3) or shapedirs[2] < NUM_SHAPE:
        return f"shapedirs has shape {shapedirs}, expected {(count, 3, NUM_SHAPE)}"
    if np.ndim(faces) != 2 or np.shape(faces)[1] != 3 or faces.min() < 0 or faces.max() >= count:
        return f"f with shape {np.shape(faces)} does not hold triangles of {count} vertices"
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights"):
        values = arrays.get(name, np.zeros(0))
        if not (np.issubdtype(values.dtype, np.number) and np.isfinite(values).all()):
            return f"{name} holds values that are not finite numbers"
    if tuple(int(parent) for parent in arrays["kintree_table"][0, 1:]) != MANO_PARENTS[1:]:
        return "kintree_table is not MANO's tree of joints"
    joints = np.asarray(arrays["J_regressor"], np.float64) @ np.asarray(arrays["v_template"], np.float64)
    if joints[MANO_FINGERS["middle"][0], 0] > joints[0, 0]:
        return "its fingers point along +x as a left hand's do; give MANO_RIGHT"
    return None
