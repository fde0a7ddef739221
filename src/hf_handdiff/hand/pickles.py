"""Reading other people's pickles without running anything that is in them.

Unpickling runs whatever code a file names.  The unpickler here imports nothing: it knows numpy arrays and
scalars and plain containers, and what its caller admits besides, and refuses everything else by name.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np


class RefusedPickleError(ValueError):
    """A pickle asks for a class or function that its kind of file has no need of."""


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes in old pickle protocols."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"it encodes bytes as {encoding!r}")
    return text.encode("latin1")


def _array_from_buffer(buffer: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """How numpy writes contiguous arrays in pickle protocol 5."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


# numpy has moved these between its private modules; its own pickles lead to them
_reconstruct_array = np.empty(0).__reduce__()[0]
_reconstruct_scalar = np.float64(0).__reduce__()[0]

ARRAYS_AND_CONTAINERS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode_latin1,
    ("collections", "OrderedDict"): OrderedDict,
}
for _module in ("numpy.core", "numpy._core"):
    ARRAYS_AND_CONTAINERS[_module + ".multiarray", "_reconstruct"] = _reconstruct_array
    ARRAYS_AND_CONTAINERS[_module + ".multiarray", "scalar"] = _reconstruct_scalar
    ARRAYS_AND_CONTAINERS[_module + ".numeric", "_frombuffer"] = _array_from_buffer
for _module in ("__builtin__", "builtins"):
    ARRAYS_AND_CONTAINERS |= {(_module, "set"): set, (_module, "frozenset"): frozenset}


class _RestrictedUnpickler(pickle.Unpickler):
    """Admits the names of a table; ``find_class`` never imports anything."""

    def __init__(self, content: bytes, kind: str, admitted: Mapping[tuple[str, str], Any]):
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._kind, self._admitted = kind, admitted

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._admitted:
            raise RefusedPickleError(f"it asks for {module}.{name}, which no {self._kind} holds")
        return self._admitted[module, name]


DAMAGED_PICKLE_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, MemoryError,
    ImportError, RecursionError, pickle.UnpicklingError,
)  # fmt: skip
"""What reading a damaged pickle, or using what it held, may raise."""


def load_restricted_pickle(
    content: bytes, kind: str, admitted: Mapping[tuple[str, str], Any] = ARRAYS_AND_CONTAINERS
) -> dict[str, Any]:
    """The dictionary in a pickle, of Python 2 or 3; nothing in it is run and nothing is imported for it.

    Args:
        content: the bytes of the pickle.
        kind: what kind of file it should be, for messages: "MANO file".
        admitted: (module, name) -> what stands for it. By default numpy arrays and plain containers.

    Raises:
        RefusedPickleError: it asks for another class or function; the message names it.
        ValueError: it is damaged, or holds no dictionary.
    """
    try:
        loaded = _RestrictedUnpickler(content, kind, admitted).load()
    except RefusedPickleError:
        raise
    except DAMAGED_PICKLE_ERRORS as error:
        raise ValueError(str(error) or type(error).__name__) from None
    if not isinstance(loaded, dict):
        raise ValueError(f"it holds a {type(loaded).__name__}, expected a dictionary")
    return loaded
