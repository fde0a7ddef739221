"""The names that a pickle of numbers may use, and the functions of ours that stand for what it calls by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hf_handdiff.errors import InputError
from hf_handdiff.hand.pickled_values import (
    MOST_DIMENSIONS,
    Allowance,
    PickledArray,
    PickledDtype,
    PickledInstance,
    build_array,
    describe,
    encode_latin1,
)

_STEPS_OF_A_NUMBER_KEY = 100  # a file can choose numbers whose hashes collide, not so texts


class PickledFunction:
    """A function of this module that stands for one that pickles call."""

    def __init__(self, call: Callable[..., Any], num_arguments: range):
        self.call, self.num_arguments = call, num_arguments


class PickledClass:
    """A class as an inert token."""

    def __init__(self, class_name: str):
        self.class_name = class_name


# arguments of functions alone; there are no instances of them
_NDARRAY, _OBJECT = PickledClass("numpy.ndarray"), PickledClass("object")


def _reconstruct(allowance: Allowance, cls: Any, shape: Any, code: Any) -> PickledArray:
    """numpy's ``_reconstruct``: an empty array, whose state comes later."""
    if cls is not _NDARRAY or shape != (0,) or code not in ("b", b"b"):
        raise InputError("it rebuilds an array in another way than numpy does")
    return PickledArray()


def _scalar(allowance: Allowance, dtype: Any, content: Any) -> PickledArray:
    """numpy's ``scalar``."""
    return PickledArray(build_array(content, dtype, (), "C", allowance))


def _from_buffer(
    allowance: Allowance, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> PickledArray:
    """numpy's ``_frombuffer``, of pickle protocol 5."""
    if type(order) is not str or order not in ("C", "F", "K") or (order == "K") != (axes is not None):
        raise InputError("an array is in an order that numpy does not write")
    array = build_array(content, dtype, shape, "F" if order == "F" else "C", allowance)
    if axes is None:
        return PickledArray(array)
    is_small = type(axes) is tuple and len(axes) <= MOST_DIMENSIONS and all(type(axis) is int for axis in axes)
    if not is_small or sorted(axes) != list(range(array.ndim)):
        raise InputError("an array is in an order that numpy does not write")
    return PickledArray(array.transpose(axes))


def _dtype(allowance: Allowance, code: Any, align: Any = False, copy: Any = True) -> PickledDtype:
    """``numpy.dtype``."""
    if type(align) not in (bool, int) or type(copy) not in (bool, int):
        raise InputError("it makes a dtype in another way than numpy does")
    return PickledDtype(code)


def _encode(allowance: Allowance, text: Any, encoding: Any = "latin1") -> bytes:
    """``_codecs.encode``, how Python 3 writes bytes in old pickle protocols."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise InputError("it encodes bytes in another way than pickles do")
    return encode_latin1(text, allowance)


def _no_bytes(allowance: Allowance) -> bytes:
    """``bytes()``, how Python 3 writes empty bytes in old pickle protocols."""
    return b""


def make_set(allowance: Allowance, members: Any = ()) -> set:
    """``set``; also for frozen ones, as nothing here depends on it.

    Raises:
        InputError: it is not made of a list of text and numbers.
    """
    if type(members) not in (list, tuple):
        raise InputError("it makes a set of something else than a list")
    for member in members:
        check_key(member, allowance)
    return set(members)


def _ordered_dict(allowance: Allowance, pairs: Any = ()) -> dict:
    """``collections.OrderedDict``; Python's own dictionaries keep their order too."""
    if type(pairs) not in (list, tuple) or any(type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs):
        raise InputError("it makes a dictionary of something else than pairs")
    for key, _ in pairs:
        check_key(key, allowance)
    return {key: value for key, value in pairs}


def _reconstruct_instance(allowance: Allowance, cls: Any, base: Any, state: Any) -> PickledInstance:
    """``copy_reg._reconstructor``, how Python 2 writes objects in old pickle protocols."""
    if base is not _OBJECT or state is not None:
        raise InputError("it rebuilds an object in another way than pickles of arrays do")
    return new_instance(cls)


def new_instance(cls: Any) -> PickledInstance:
    """A stand-in without state for an object of a class that the caller lists.

    Raises:
        InputError: it is no such class.
    """
    if not isinstance(cls, PickledClass) or cls in (_NDARRAY, _OBJECT):
        raise InputError(f"it makes an object of {describe(cls)} that has none in files of its kind")
    return PickledInstance(cls.class_name)


def check_key(key: Any, allowance: Allowance) -> None:
    """Keys and members of sets are text, bytes, single numbers or None: hashing deeply nested tuples ends Python.

    Raises:
        InputError: it is something else.
    """
    if type(key) in (str, bytes):
        allowance.spend(steps=1)
    elif key is None or type(key) in (int, bool):
        allowance.spend(steps=_STEPS_OF_A_NUMBER_KEY)
    else:
        raise InputError(f"it has {describe(key)} as a key, expected text")


FUNCTIONS: dict[tuple[str, str], PickledFunction] = {
    ("numpy", "dtype"): PickledFunction(_dtype, range(1, 4)),
    ("_codecs", "encode"): PickledFunction(_encode, range(1, 3)),
    ("collections", "OrderedDict"): PickledFunction(_ordered_dict, range(2)),
}
for _module in ("numpy.core", "numpy._core"):  # numpy has moved these
    FUNCTIONS[_module + ".multiarray", "_reconstruct"] = PickledFunction(_reconstruct, range(3, 4))
    FUNCTIONS[_module + ".multiarray", "scalar"] = PickledFunction(_scalar, range(2, 3))
    FUNCTIONS[_module + ".numeric", "_frombuffer"] = PickledFunction(_from_buffer, range(4, 6))
for _module in ("__builtin__", "builtins"):
    for _name in ("set", "frozenset"):
        FUNCTIONS[_module, _name] = PickledFunction(make_set, range(2))
    FUNCTIONS[_module, "bytes"] = PickledFunction(_no_bytes, range(1))
for _module in ("copy_reg", "copyreg"):
    FUNCTIONS[_module, "_reconstructor"] = PickledFunction(_reconstruct_instance, range(3, 4))

TOKENS: dict[tuple[str, str], PickledClass] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("__builtin__", "object"): _OBJECT,
    ("builtins", "object"): _OBJECT,
}
