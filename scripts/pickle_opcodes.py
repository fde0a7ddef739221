"""Writing pickles opcode by opcode: as Python 2, chumpy and scipy wrote them, and as nobody would."""

from __future__ import annotations

import struct

import numpy as np


def text(value: str) -> bytes:
    """A text."""
    encoded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def python2_text(value: bytes) -> bytes:
    """A string of Python 2."""
    return b"T" + struct.pack("<i", len(value)) + value


def number(value: int) -> bytes:
    """A whole number."""
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<i", len(content)) + content


def real(value: float) -> bytes:
    """A float."""
    return b"G" + struct.pack(">d", value)


def byte_string(value: bytes) -> bytes:
    """Bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def sequence(*parts: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def listed(*parts: bytes) -> bytes:
    """A list."""
    return b"](" + b"".join(parts) + b"e"


def dictionary(fields: dict[str, bytes]) -> bytes:
    """A dictionary."""
    return b"}(" + b"".join(text(name) + value for name, value in fields.items()) + b"u"


def named(module: str, name: str) -> bytes:
    """A class or function."""
    return f"c{module}\n{name}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """What a function gives."""
    return function + sequence(*arguments) + b"R"


def put(index: int) -> bytes:
    """Keep the value on top of the stack under a number."""
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    """The value that was kept under a number."""
    return b"j" + struct.pack("<I", index)


def dtype(code: str, order: str = "<", item_bytes: int = -1, flags: int = 0) -> bytes:
    """A dtype with its state."""
    made = call(named("numpy", "dtype"), text(code), number(0), number(1))
    parts = [number(3), text(order), b"NNN", number(item_bytes), number(item_bytes), number(flags)]
    return made + sequence(*parts) + b"b"


def array_of_parts(shape: bytes, dtype_: bytes, content: bytes, is_fortran: bytes = b"\x89") -> bytes:
    """An array of a state whose parts are written already."""
    empty = call(named("numpy.core.multiarray", "_reconstruct"), named("numpy", "ndarray"), b"K\x00\x85", text("b"))
    return empty + sequence(number(1), shape, dtype_, is_fortran, content) + b"b"


def array(values: np.ndarray) -> bytes:
    """An array of numbers, as numpy 1 in Python 2 writes it."""
    values = np.asarray(values)
    order = values.dtype.byteorder if values.dtype.itemsize > 1 else "|"
    shape = sequence(*(number(side) for side in values.shape))
    code = values.dtype.str[1:]
    return array_of_parts(shape, dtype(code, order.replace("=", "<")), python2_text(values.tobytes()))


def instance(module: str, name: str, fields: dict[str, bytes]) -> bytes:
    """An object with a state, as Python 2 writes it."""
    made = call(named("copy_reg", "_reconstructor"), named(module, name), named("__builtin__", "object"), b"N")
    return made + dictionary(fields) + b"b"


def chumpy_array(values: bytes) -> bytes:
    """An array of chumpy."""
    dirty = call(named("__builtin__", "set"), listed(text("x")))
    return instance("chumpy.ch", "Ch", {"x": values, "_dirty_vars": dirty, "_itr": b"N"})


def chumpy_selection(values: bytes, indices: bytes, shape: bytes) -> bytes:
    """A selection of chumpy."""
    return instance("chumpy.reordering", "Select", {"a": values, "idxs": indices, "preferred_shape": shape})


def csc_matrix(dense: np.ndarray) -> bytes:
    """A sparse matrix of scipy."""
    from scipy.sparse import csc_matrix

    matrix = csc_matrix(dense)
    return csc_matrix_of_parts(
        sequence(*(number(side) for side in dense.shape)),
        array(matrix.data),
        array(matrix.indices),
        array(matrix.indptr),
    )


def csc_matrix_of_parts(shape: bytes, data: bytes, indices: bytes, pointers: bytes) -> bytes:
    """A sparse matrix whose parts are written already."""
    fields = {"_shape": shape, "data": data, "indices": indices, "indptr": pointers, "format": text("csc")}
    return instance("scipy.sparse.csc", "csc_matrix", fields)
