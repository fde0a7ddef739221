"""Reading the official MANO files without chumpy and without running anything that is in them.

``MANO_RIGHT.pkl`` is a Python 2 pickle with chumpy arrays inside; chumpy no longer installs, and unpickling
runs whatever code the file names.  It is read by ``hf_handdiff.hand.pickles``, which knows arrays of numbers; here
objects of chumpy and scipy become arrays: their states are stand-ins, and everything in them is checked.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hf_handdiff.errors import InputError, NotFoundError
from hf_handdiff.hand.pickled_values import Allowance, PickledInstance, to_array
from hf_handdiff.hand.pickles import RefusedPickleError, load_restricted_pickle, read_file_up_to
from hf_handdiff.hand.topology import FINGERTIPS, MANO_FINGERS, MANO_PARENTS, NUM_ROTATIONS, NUM_SHAPE

_MANO_VERTICES = 778
_POSE_FEATURES = 9 * (NUM_ROTATIONS - 1)
_REQUIRED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
_LARGEST_VALUE = 10  # metres, or metres per unit of shape or rotation; joints and weights are averages

_MOST_FILE_BYTES = 1 << 25  # the official file has 3.8 MB
_MOST_ARRAY_BYTES = 1 << 26  # of an npz file, unpacked
_MOST_ARRAYS = 1000
_MOST_CHAINED = 8  # selections of selections

_CHUMPY_ARRAY, _CHUMPY_SELECTION = "a chumpy array", "a chumpy selection"
_CSC_MATRIX, _CSR_MATRIX = "a csc matrix", "a csr matrix"
_CLASSES = {
    ("chumpy.ch", "Ch"): _CHUMPY_ARRAY,
    ("chumpy", "Ch"): _CHUMPY_ARRAY,
    ("chumpy.reordering", "Select"): _CHUMPY_SELECTION,
}
for _module, _name, _class in (("csc", "csc_matrix", _CSC_MATRIX), ("csr", "csr_matrix", _CSR_MATRIX)):
    for _path in (f"scipy.sparse.{_module}", f"scipy.sparse._{_module}", "scipy.sparse"):
        _CLASSES[_path, _name] = _class


class _Evaluation:
    """The arrays that chumpy's and scipy's objects stand for; each is worked out once."""

    def __init__(self, allowance: Allowance):
        self._allowance = allowance
        self._known: dict[int, np.ndarray] = {}  # by id; the objects live as long as the pickle's dictionary
        self._depth = 0

    def array(self, value: Any) -> np.ndarray:
        """Numbers or text of any kind that a MANO file holds, as a new array."""
        return to_array(value, self._allowance, self._evaluate)

    def _evaluate(self, instance: PickledInstance) -> np.ndarray:
        if id(instance) not in self._known:
            if self._depth >= _MOST_CHAINED:
                raise InputError(f"{instance.class_name} lies in more than {_MOST_CHAINED} others, or in itself")
            self._depth += 1
            evaluate = {_CHUMPY_ARRAY: self._chumpy_array, _CHUMPY_SELECTION: self._selection}
            self._known[id(instance)] = evaluate.get(instance.class_name, self._sparse_matrix)(instance)
            self._depth -= 1
        return self._known[id(instance)]

    def _chumpy_array(self, instance: PickledInstance) -> np.ndarray:
        """``chumpy.ch.Ch``: its values are in the field ``x``."""
        return self.array(instance.field("x"))

    def _selection(self, instance: PickledInstance) -> np.ndarray:
        """``chumpy.reordering.Select``: some entries of another array, in another shape."""
        values = self.array(instance.field("a")).ravel()
        indices = self._indices(instance, "idxs", len(values))
        self._allowance.spend(num_bytes=values.itemsize * len(indices))
        selected = values[indices]
        shape = instance.field("preferred_shape") if instance.has("preferred_shape") else None
        if shape is None:
            return selected
        shape = self._shape(instance, shape)
        if math.prod(shape) != len(selected):
            raise InputError(f"{instance.class_name} of {len(selected)} values has the shape {shape}")
        return selected.reshape(shape)

    def _sparse_matrix(self, instance: PickledInstance) -> np.ndarray:
        """A compressed sparse matrix of scipy as a dense array."""
        axis = 0 if instance.class_name == _CSR_MATRIX else 1  # whose indices are pointers
        shape = self._shape(instance, instance.field("_shape" if instance.has("_shape") else "shape"))
        if len(shape) != 2:
            raise InputError(f"{instance.class_name} has the shape {shape}, expected two sides")
        data = self.array(instance.field("data")).ravel()
        if data.dtype.kind not in "biuf":
            raise InputError(f"{instance.class_name} has values that are not numbers")
        indices = self._indices(instance, "indices", shape[1 - axis])
        pointers = self._indices(instance, "indptr", min(len(indices), len(data)) + 1)
        if len(pointers) != shape[axis] + 1 or pointers[0] != 0 or (np.diff(pointers) < 0).any():
            raise InputError(f"{instance.class_name} has pointers that do not fit its shape")
        self._allowance.spend(num_bytes=data.itemsize * math.prod(shape) + 16 * int(pointers[-1]))
        dense = np.zeros(shape, data.dtype)
        major, minor = np.repeat(np.arange(shape[axis]), np.diff(pointers)), indices[: pointers[-1]]
        np.add.at(dense, (major, minor) if axis == 0 else (minor, major), data[: pointers[-1]])
        return dense

    def _indices(self, instance: PickledInstance, name: str, end: int) -> np.ndarray:
        """A field as int64 indices, flat, from 0 and below ``end``."""
        indices = self.array(instance.field(name)).ravel()
        if indices.dtype.kind not in "iu" or (len(indices) and (indices.min() < 0 or indices.max() >= end)):
            raise InputError(f"{instance.class_name} has {name} that are not whole numbers from 0 to {end - 1}")
        self._allowance.spend(num_bytes=8 * len(indices))
        return indices.astype(np.int64)

    def _shape(self, instance: PickledInstance, shape: Any) -> tuple[int, ...]:
        sides = self.array(shape)
        is_shape = sides.ndim == 1 and len(sides) <= 8 and sides.dtype.kind in "iu"
        if not is_shape or (sides < 0).any() or (sides > _MOST_FILE_BYTES).any():
            raise InputError(f"{instance.class_name} has a shape that is not a few whole numbers from 0")
        return tuple(int(side) for side in sides)


def read_mano_pickle(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an official MANO pickle.

    Nothing in the file is run and nothing is imported for it; what it may hold is told in ``hf_handdiff.hand.pickles``.

    Args:
        path: ``MANO_RIGHT.pkl`` or a pickle of the same kind, of at most 32 MB.

    Returns:
        The entries of the pickled dictionary as arrays; chumpy arrays are evaluated, sparse matrices dense.

    Raises:
        NotFoundError: there is no such file.
        RefusedPickleError: the pickle asks for anything but arrays; the message names it.
        InputError: the file is no pickle of a dictionary of arrays.
    """
    allowance = Allowance()
    try:
        pickled = load_restricted_pickle(_file_content(path), "MANO file", _CLASSES, allowance)
        evaluation = _Evaluation(allowance)
        return {name: evaluation.array(value) for name, value in pickled.items()}
    except NotFoundError:
        raise
    except RefusedPickleError as error:
        raise RefusedPickleError(f"MANO file {path} was refused: {error}") from None
    except InputError as error:
        raise InputError(f"MANO file {path} is not a readable MANO pickle: {error}") from None


def _file_content(path: str | Path) -> bytes:
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"MANO file {path} does not exist")
    return read_file_up_to(path, _MOST_FILE_BYTES)


# ---------------------------------------------------------------------------------------------------- npz

_BAD_NPZ_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, EOFError, OSError, OverflowError, SyntaxError, RuntimeError,
    MemoryError, struct.error, zlib.error, zipfile.BadZipFile, tokenize.TokenError,
)  # fmt: skip
"""What zipfile and numpy raise about damaged files."""


def _read_npz(path: str | Path) -> dict[str, np.ndarray]:
    try:
        content = _file_content(path)
        _check_npz(content)
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except NotFoundError:
        raise
    except _BAD_NPZ_ERRORS as error:
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise InputError(f"MANO file {path} is not a readable npz file: {reason}") from None


def _check_npz(content: bytes) -> None:
    """Refuse archives that unpack to far more than a hand, and arrays that are larger than what is there."""
    if content.count(b"PK\x01\x02") > _MOST_ARRAYS:
        raise InputError(f"it has more than {_MOST_ARRAYS} entries")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MOST_ARRAY_BYTES:
            raise InputError(f"it unpacks to more than {_MOST_ARRAY_BYTES >> 20} MB")
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{ascii(member.filename)} is compressed in a way that numpy does not use")
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version not in read_header:
                    raise InputError(f"{ascii(member.filename)} is of numpy's format {version}")
                shape, _, dtype = read_header[version](file)
                if dtype.kind not in "biufSU":
                    raise InputError(f"{ascii(member.filename)} holds neither numbers nor text")
                if min(shape, default=0) < 0 or len(shape) > 8 or math.prod(shape) * dtype.itemsize > member.file_size:
                    raise InputError(f"{ascii(member.filename)} has shape {shape} and too few bytes")


# ------------------------------------------------------------------------------------------------- checks


def load_mano_file(path: str | Path) -> dict[str, np.ndarray]:
    """The checked arrays of a right MANO hand from a pickle or an npz file.

    Args:
        path: a file whose name ends in ``.npz``, or else a pickle.

    Returns:
        MANO's arrays under their names.

    Raises:
        NotFoundError: there is no such file.
        InputError: the file is not a right MANO hand; one sentence says why.
    """
    arrays = _read_npz(path) if Path(path).suffix.lower() == ".npz" else read_mano_pickle(path)
    problem = find_problem(arrays)
    if problem:
        raise InputError(f"MANO file {path} is not a right MANO hand: {problem}")
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
    shapedirs = np.shape(arrays["shapedirs"])
    if len(shapedirs) != 3 or shapedirs[:2] != (count, 3) or shapedirs[2] < NUM_SHAPE:
        return f"shapedirs has shape {shapedirs}, expected {(count, 3, NUM_SHAPE)}"
    return _find_bad_values(arrays, count)


def _find_bad_values(arrays: dict[str, np.ndarray], count: int) -> str | None:
    """What is wrong with the values of arrays whose shapes are right, in words, or None."""
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "hands_mean", "mesh_to_joints"):
        values = arrays.get(name, np.zeros(0))
        if not (values.dtype.kind in "biuf" and np.isfinite(values).all()):
            return f"{name} holds values that are not finite numbers"
        if values.size and max(values.max(), -values.min()) > _LARGEST_VALUE:
            return f"{name} holds values of more than {_LARGEST_VALUE}, expected metres, radians or shares"
    if not np.allclose(arrays["weights"].astype(np.float64).sum(1), 1, atol=0.01):
        return "weights do not sum to 1 at each vertex"
    if np.ndim(arrays["f"]) != 2 or np.shape(arrays["f"])[1] != 3 or not _are_indices(arrays["f"], count):
        return f"f with shape {np.shape(arrays['f'])} does not hold triangles of {count} vertices"
    tips = arrays.get("tips", np.zeros(len(FINGERTIPS), int))
    if np.shape(tips) != (len(FINGERTIPS),) or not _are_indices(tips, count):
        return f"tips are not {len(FINGERTIPS)} of its {count} vertices"
    parents = arrays["kintree_table"][0, 1:]
    if not _are_indices(parents, NUM_ROTATIONS) or tuple(int(parent) for parent in parents) != MANO_PARENTS[1:]:
        return "kintree_table is not MANO's tree of joints"
    if "hands_mean" in arrays and arrays["hands_mean"].size != 3 * (NUM_ROTATIONS - 1):
        return f"hands_mean has shape {np.shape(arrays['hands_mean'])}, expected {(3 * (NUM_ROTATIONS - 1),)}"
    joints = np.asarray(arrays["J_regressor"], np.float64) @ np.asarray(arrays["v_template"], np.float64)
    if joints[MANO_FINGERS["middle"][0], 0] > joints[0, 0]:
        return "its fingers point along +x as a left hand's do; give MANO_RIGHT"
    return None


def _are_indices(values: np.ndarray, end: int) -> bool:
    """Whether there are values, all of them whole numbers from 0 and below ``end``."""
    if values.dtype.kind not in "iuf" or not values.size or not np.isfinite(values).all():
        return False
    return bool(values.min() >= 0 and values.max() < end and (values == np.floor(values)).all())
