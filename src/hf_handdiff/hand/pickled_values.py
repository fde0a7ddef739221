"""What stands for numpy's arrays while a pickle is read, and how they are built from checked parts.

Nothing here calls numpy with a value of the file before it was checked: a dtype is one of a list of codes, a
shape is a tuple of whole numbers whose product fits the bytes that are there, and the bytes of an array are those
of the file.  An array of objects is kept as a stand-in without contents.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from hf_handdiff.errors import InputError

MOST_DIMENSIONS = 8
MOST_NESTED = 8
_LARGEST_SIDE = 1 << 31
_NUMBER_CODES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
_TEXT_CODE = re.compile(r"[SU]\d{1,6}")
_OBJECT_CODES = frozenset(("O", "O4", "O8"))


class Allowance:
    """What reading one file may take, counted down: a small file can ask for work without end.

    Args:
        steps: opcodes, more for those that make objects, and entries of containers that are copied. A hand whose
            arrays are written as lists takes 0.8 million.
        num_bytes: bytes of all arrays and texts that are made.
    """

    def __init__(self, steps: int = 1_200_000, num_bytes: int = 1 << 28):
        self.steps, self.num_bytes = steps, num_bytes

    def spend(self, steps: int = 0, num_bytes: int = 0) -> None:
        """Take from what is left.

        Raises:
            InputError: there is not that much left.
        """
        self.steps -= steps
        self.num_bytes -= num_bytes
        if self.steps < 0 or self.num_bytes < 0:
            raise InputError("it asks for far more work or memory than a file of its kind")


class PickledDtype:
    """A dtype of numbers, text or objects: a code, then its byte order.

    Attributes:
        dtype: of numpy; None for objects, and before `set_state`.
    """

    def __init__(self, code: Any):
        is_known = type(code) is str and (code in _NUMBER_CODES | _OBJECT_CODES or _TEXT_CODE.fullmatch(code))
        if not is_known:
            raise InputError(f"it asks for arrays of the kind {printable(code)}, expected numbers or text")
        self._code = code
        self.holds_objects = code in _OBJECT_CODES
        self.is_complete = False
        self.dtype: np.dtype | None = None

    def set_state(self, state: Any) -> None:
        """The state that numpy writes; only its byte order is used, nothing of it is given to numpy.

        Raises:
            InputError: it is not the state of a dtype of numbers, text or objects.
        """
        if self.is_complete or type(state) is not tuple or len(state) != 8 or state[0] != 3:
            raise InputError("the state of a dtype is not one that numpy writes")
        order, parts, item_bytes = state[1], state[2:5], state[5]
        if type(order) is not str or order not in ("<", ">", "|", "=") or any(part is not None for part in parts):
            raise InputError("a dtype has fields or a byte order that arrays of numbers do not have")
        if not self.holds_objects:
            dtype = np.dtype(self._code).newbyteorder("<" if order == "=" else order)
            if type(item_bytes) is not int or item_bytes not in (-1, dtype.itemsize):
                raise InputError(f"a dtype {self._code} says that it has {printable(item_bytes)} bytes")
            self.dtype = dtype
        self.is_complete = True


class PickledArray:
    """An array, a numpy scalar (an array without dimensions), or an array of objects.

    Attributes:
        array: read-only; None before `set_state`, and for objects.
    """

    def __init__(self, array: np.ndarray | None = None):
        self.array = array
        self._is_complete = array is not None

    def set_state(self, state: Any, allowance: Allowance) -> None:
        """The state that numpy writes: version, shape, dtype, whether in Fortran's order, bytes.

        Raises:
            InputError: it is not such a state, or its parts do not fit each other.
        """
        if self._is_complete or type(state) is not tuple or len(state) != 5 or state[0] != 1:
            raise InputError("the state of an array is not one that numpy writes")
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, PickledDtype) or type(is_fortran) not in (bool, int):
            raise InputError("the state of an array is not one that numpy writes")
        if dtype.holds_objects:
            if type(content) is not list or len(content) != math.prod(check_shape(shape)):
                raise InputError("an array of objects has another number of entries than its shape")
        else:
            self.array = build_array(content, dtype, shape, "F" if is_fortran else "C", allowance)
        self._is_complete = True


class PickledInstance:
    """An object of a class that the kind of file knows: its state alone, none of its behaviour.

    Attributes:
        class_name: what the caller calls the class, "a chumpy array".
    """

    def __init__(self, class_name: str):
        self.class_name = class_name
        self._parts: list[dict[str, Any]] | None = None

    def set_state(self, state: Any) -> None:
        """A dictionary, or one and another for slots.

        Raises:
            InputError: it is something else, or was set before.
        """
        parts = state if type(state) is tuple and len(state) == 2 else (state,)
        parts = [part for part in parts if part is not None]
        if self._parts is not None or not all(type(part) is dict for part in parts):
            raise InputError(f"the state of {self.class_name} is not a dictionary")
        self._parts = parts

    def has(self, name: str) -> bool:
        """Whether the state has a field."""
        return any(name in part for part in self._parts or ())

    def field(self, name: str) -> Any:
        """A field of the state.

        Raises:
            InputError: it has no such field.
        """
        for part in reversed(self._parts or ()):
            if name in part:
                return part[name]
        raise InputError(f"{self.class_name} has no field {name}")


def printable(value: Any) -> str:
    """A value of a file for a message: short, without line breaks or control characters."""
    text = (
        ascii(value[:80])[1:-1] if type(value) is str else repr(value) if type(value) is int else type(value).__name__
    )
    return text if len(text) <= 80 else text[:80] + "..."


def check_shape(shape: Any) -> tuple[int, ...]:
    """A shape that numpy can have.

    Raises:
        InputError: it is not a tuple of at most 8 whole numbers from 0.
    """
    is_shape = type(shape) is tuple and len(shape) <= MOST_DIMENSIONS
    if not is_shape or not all(type(side) in (int, bool) and 0 <= side < _LARGEST_SIDE for side in shape):
        raise InputError(f"the shape of an array is not up to {MOST_DIMENSIONS} whole numbers from 0")
    return tuple(int(side) for side in shape)


def build_array(content: Any, dtype: PickledDtype, shape: Any, order: str, allowance: Allowance) -> np.ndarray:
    """A read-only array of the bytes `content`, or of text that Python 2 wrote for bytes.

    Raises:
        InputError: the parts do not fit each other.
    """
    shape = check_shape(shape)
    if not isinstance(dtype, PickledDtype) or dtype.dtype is None:
        raise InputError("an array has no dtype of numbers or text")
    if type(content) is str:
        content = encode_latin1(content, allowance)
    if type(content) is not bytes:
        raise InputError("the contents of an array are not bytes")
    count, item_bytes = math.prod(shape), dtype.dtype.itemsize
    if len(content) != count * item_bytes or (item_bytes == 0 and count > 1):
        raise InputError(f"an array of shape {shape} has {len(content)} bytes, expected {count * item_bytes}")
    if not content:
        return np.zeros(shape, dtype.dtype)
    flat = np.frombuffer(content, dtype.dtype)
    if dtype.dtype.kind in "bU":  # which are looked through
        allowance.spend(num_bytes=len(content))
    if dtype.dtype.kind == "b" and (np.frombuffer(content, np.uint8) > 1).any():
        raise InputError("an array of truth values holds others than 0 and 1")
    if dtype.dtype.kind == "U":
        if (np.frombuffer(content, np.dtype("u4").newbyteorder(dtype.dtype.byteorder)) > 0x10FFFF).any():
            raise InputError("an array of text holds numbers that are no characters")
    return flat.reshape(shape, order=order)


def encode_latin1(text: str, allowance: Allowance) -> bytes:
    """Bytes that Python 2 or an old protocol wrote as text.

    Raises:
        InputError: the text has characters that no byte is.
    """
    allowance.spend(num_bytes=len(text))
    try:
        return text.encode("latin1")
    except UnicodeEncodeError:
        raise InputError("text that stands for bytes has other characters") from None


def to_array(
    value: Any, allowance: Allowance, evaluate: Callable[[PickledInstance], np.ndarray] | None = None, nested: int = 0
) -> np.ndarray:
    """Numbers, text, arrays or nested lists of numbers as a plain array in this machine's byte order.

    Args:
        value: of a dictionary that was read from a pickle.
        allowance: what is left for this file.
        evaluate: the array that an instance stands for; without it instances are refused.
        nested: in how many lists it lies.

    Returns:
        A new array that can be written to.

    Raises:
        InputError: it is something else, or lists whose parts do not fit each other.
    """
    allowance.spend(steps=1)
    if evaluate is not None and isinstance(value, PickledInstance):
        value = PickledArray(evaluate(value))
    if isinstance(value, PickledArray):
        if value.array is None:
            raise InputError("it holds an array of objects where numbers were expected")
        allowance.spend(num_bytes=value.array.nbytes)
        return np.array(value.array, dtype=value.array.dtype.newbyteorder("="))
    if type(value) in (bool, int, float):
        return np.array(value)
    if type(value) in (str, bytes):
        allowance.spend(num_bytes=4 * len(value))
        return np.array(value)
    if type(value) not in (list, tuple):
        raise InputError(f"it holds {describe(value)} where numbers were expected")
    return _stack(value, allowance, evaluate, nested)


def _stack(values: list | tuple, allowance: Allowance, evaluate, nested: int) -> np.ndarray:
    """Numbers or equal arrays along a new first axis."""
    if nested >= MOST_NESTED:
        raise InputError(f"it holds lists in more than {MOST_NESTED} lists where numbers were expected")
    allowance.spend(steps=len(values), num_bytes=8 * len(values))
    if all(type(value) in (bool, int, float) for value in values):
        array = np.array(values) if values else np.zeros(0)
        if array.dtype.kind not in "biuf":
            raise InputError("it holds a list of numbers that no array can hold")
        return array
    parts = [to_array(value, allowance, evaluate, nested + 1) for value in values]
    if any(part.shape != parts[0].shape or part.dtype.kind not in "biuf" for part in parts):
        raise InputError("it holds a list of unequal parts where numbers were expected")
    if parts[0].ndim >= MOST_DIMENSIONS:
        raise InputError(f"it holds numbers in more than {MOST_DIMENSIONS} dimensions")
    allowance.spend(num_bytes=sum(part.nbytes for part in parts))
    array = np.stack(parts)
    allowance.spend(num_bytes=array.nbytes)
    return array


def describe(value: Any) -> str:
    """What a value of a file is, for messages."""
    if isinstance(value, PickledInstance):
        return value.class_name
    if isinstance(value, PickledArray):
        return "an array"
    names = {"NoneType": "nothing", "int": "a number", "float": "a number", "str": "text", "bytes": "bytes"}
    name = type(value).__name__
    return names.get(name, f"a {name}" if type(value) in (list, tuple, dict, set, frozenset, bool) else "a class")
