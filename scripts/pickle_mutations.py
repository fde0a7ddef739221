"""Damaged and hostile files for `fuzz_pickles.py`: of good ones by mutation, and made up from the parts of attacks."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from random import Random

import numpy as np
import pickle_opcodes as op

from hf_handdiff.hand.open_hand import load_open_hand_arrays

_MANO_NAMES = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table", "hands_mean")
_OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
_ODD_NUMBERS = [
    -(1 << 63),
    -(1 << 31),
    -2,
    -1,
    0,
    1,
    2,
    7,
    255,
    1 << 16,
    1 << 31,
    1 << 32,
    (1 << 63) - 1,
    1 << 64,
    1 << 90,
]
_CODES = (
    "O8 O O4 f8 f4 f2 i8 u1 b1 S3 U2 U0 S0 V8 M8 c16 f16 U999999 f8,f8 (9,9)f8 object x"  # the last nine are refused
).split()
_ATTACKED_NAMES = [
    ("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"), ("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode"),
    ("collections", "OrderedDict"), ("builtins", "set"), ("builtins", "frozenset"), ("builtins", "object"),
    ("builtins", "bytes"), ("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("scipy.sparse", "csr_matrix"),
    ("copyreg", "_reconstructor"), ("builtins", "eval"), ("os", "system"),
]  # fmt: skip


def mano_arrays(num_vertices: int = 778) -> dict[str, np.ndarray]:
    """The open hand's arrays under MANO's names; with fewer vertices it is no hand, but quick to read."""
    arrays = {name: np.array(value) for name, value in load_open_hand_arrays().items() if name in _MANO_NAMES}
    for name in ("v_template", "shapedirs", "posedirs", "weights", "f"):
        arrays[name] = arrays[name][:num_vertices]
    arrays["J_regressor"] = arrays["J_regressor"][:, :num_vertices]
    return arrays


def official_looking_pickle(arrays: dict[str, np.ndarray]) -> bytes:
    """With chumpy's selections and a sparse matrix, as the official file."""
    fields = {name: op.array(values) for name, values in arrays.items()}
    shape = op.sequence(*(op.number(side) for side in arrays["shapedirs"].shape))
    indices = np.arange(arrays["shapedirs"].size)
    fields["shapedirs"] = op.chumpy_selection(op.chumpy_array(fields["shapedirs"]), op.array(indices), shape)
    fields["posedirs"] = op.chumpy_array(fields["posedirs"])
    fields["J_regressor"] = op.csc_matrix(arrays["J_regressor"])
    fields["bs_type"] = op.python2_text(b"lrotmin")
    return b"\x80\x02" + op.dictionary(fields) + b"."


def ho3d_annotation() -> dict:
    """The fields of a frame of HO3D, with a box as in its evaluation split."""
    draw = np.random.default_rng(0)
    return {
        "objName": "003_cracker_box",
        "objLabel": np.int64(2),
        "objRot": np.zeros((3, 1)),
        "objCorners3D": np.zeros((8, 3)),
        "camMat": np.array([[614.6, 0, 320.3], [0, 614.1, 241.8], [0, 0, 1]]),
        "handJoints3D": draw.normal(size=(21, 3)).astype(np.float32),
        "handPose": draw.normal(size=48).astype(np.float32),
        "handBeta": draw.normal(size=10),
        "handTrans": draw.normal(size=3),
        "handVertContact": np.zeros(778, bool),
        "handBoundingBox": [200, 100, 300, 220],
    }


def npz(arrays: dict[str, np.ndarray], compressed: bool = True) -> bytes:
    """An npz file."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


class FileMaker:
    """Makes the files of a fuzzing run; all chance is in the generator that `make` is given."""

    def __init__(self):
        small, whole, annotation = mano_arrays(12), mano_arrays(), ho3d_annotation()
        self._seeds = {
            "mano.pkl": [pickle.dumps(small, protocol) for protocol in range(6)] + [official_looking_pickle(small)] * 6,
            "ho3d.pkl": [pickle.dumps(annotation, protocol) for protocol in range(6)],
            "mano.npz": [npz(small), npz(small, compressed=False)],
        }
        self._whole = {
            "mano.pkl": [pickle.dumps(whole, 2), pickle.dumps(whole, 5), official_looking_pickle(whole)],
            "mano.npz": [npz(whole)],
        }
        self._fields = {
            "mano.pkl": {name: op.array(values) for name, values in small.items()},
            "ho3d.pkl": {name: _plain(value) for name, value in annotation.items()},
        }
        self._starts = {seed: _opcode_starts(seed) for seed in self._seeds["mano.pkl"] + self._seeds["ho3d.pkl"]}

    def make(self, rng: Random) -> tuple[str, bytes]:
        """A name, which tells how it is to be read, and the contents."""
        kind = rng.choices(["mano.pkl", "ho3d.pkl", "mano.npz"], [5, 4, 1])[0]
        if kind != "ho3d.pkl" and rng.random() < 0.03:
            return kind, _mutated(rng.choice(self._whole[kind]), rng, few=True)
        if kind == "mano.npz":
            seed = hostile_npz(rng) if rng.random() < 0.3 else rng.choice(self._seeds[kind])
            return kind, _mutated(seed, rng) if rng.random() < 0.8 else seed
        if rng.random() < 0.45:
            content = self._hostile_pickle(kind, rng)
            return kind, content if rng.random() < 0.7 else _mutated(content, rng, few=True)
        seed = rng.choice(self._seeds[kind])
        return kind, self._rearranged(seed, kind, rng) if rng.random() < 0.5 else _mutated(seed, rng)

    def _hostile_pickle(self, kind: str, rng: Random) -> bytes:
        """A dictionary some of whose fields are attacks."""
        fields = dict(self._fields[kind])
        for _ in range(rng.choice([1, 1, 2, 4])):
            fields[rng.choice(list(fields))] = rng.choice(ATTACKS)(rng)
        before = rng.choice(ATTACKS)(rng) + b"0" if rng.random() < 0.2 else b""
        return b"\x80\x04" + before + op.dictionary(fields) + b"."

    def _rearranged(self, seed: bytes, kind: str, rng: Random) -> bytes:
        """Whole opcodes taken out, doubled, moved, or brought from another file."""
        parts = _opcodes(seed, self._starts[seed])
        others = rng.choice(self._seeds[kind])
        others = _opcodes(others, self._starts[others])
        for _ in range(rng.choice([1, 1, 2, 3, 8])):
            place, length = rng.randrange(len(parts)), rng.choice([1, 1, 2, 5])
            what = rng.randrange(5)
            if what == 0:
                del parts[place : place + length]
            elif what == 1:
                parts[place:place] = parts[place : place + length]
            elif what == 2:
                start = rng.randrange(len(others))
                parts[place:place] = others[start : start + length]
            elif what == 3:
                parts.insert(place, rng.choice(ATTACKS)(rng))
            else:
                parts.insert(place, rng.choice(_OPCODES) + rng.choice([b"", b"\x00", b"\x01", b"\n", rng.randbytes(4)]))
            if not parts:
                return b""
        return b"".join(parts)


def _opcode_starts(content: bytes) -> list[int]:
    try:
        return [position for _, _, position in pickletools.genops(content)]
    except ValueError:
        return [0]


def _opcodes(content: bytes, starts: list[int]) -> list[bytes]:
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


def _plain(value) -> bytes:
    if isinstance(value, str):
        return op.text(value)
    if isinstance(value, list):
        return op.listed(*(op.number(entry) for entry in value))
    return op.array(value)


def _mutated(content: bytes, rng: Random, few: bool = False) -> bytes:
    """Bits turned, bytes set, pieces taken out, doubled or cut off."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2]) if few else rng.choice([1, 1, 2, 3, 8, 30])):
        if not data:
            break
        place, length = rng.randrange(len(data)), rng.choice([1, 2, 4, 16, 200])
        what = rng.randrange(8)
        if what <= 1:
            data[place] ^= 1 << rng.randrange(8)
        elif what == 2:
            data[place] = rng.choice([0, 1, 255, 128, 10, rng.choice(_OPCODES)[0]])
        elif what == 3:
            del data[place : place + length]
        elif what == 4:
            data[place:place] = data[place : place + length]
        elif what == 5:
            start = rng.randrange(len(data))
            data[place : place + length] = data[start : start + length]
        elif what == 6:
            data[place : place + 4] = struct.pack("<i", rng.choice([-1, 0, 1, 1 << 20, (1 << 31) - 1]))
        elif rng.random() < 0.3:
            del data[place:]
    return bytes(data)


# ------------------------------------------------------------------------------------------------ attacks


def _odd_value(rng: Random, depth: int = 0) -> bytes:
    """A value of any kind; numbers mostly odd ones."""
    kinds = 14 if depth < 3 else 8
    kind = rng.randrange(kinds)
    if kind == 0:
        return op.number(rng.choice(_ODD_NUMBERS))
    if kind <= 3:
        return [b"N", b"\x88", op.real(rng.choice([0.0, 1.5, float("nan"), 1e308]))][kind - 1]
    if kind == 4:
        return op.text(rng.choice(["", "b", "f8", "latin1", "utf-8", "<", "x" * 50, "\u20ac", "\ud800", "\x1b[2J\n"]))
    if kind == 5:
        return op.byte_string(rng.randbytes(rng.choice([0, 1, 8, 64, 1000])))
    if kind == 6:
        return op.named(*rng.choice(_ATTACKED_NAMES))
    if kind == 7:
        return op.dtype(rng.choice(_CODES), rng.choice("<>|="), rng.choice(_ODD_NUMBERS[3:8]), rng.choice([0, 8, 63]))
    if kind == 8:
        return op.array(np.arange(rng.choice([0, 1, 9, 30]), dtype=rng.choice(["f8", ">i4", "u1", "f2", "i8"])))
    parts = [_odd_value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind in (9, 10):
        return op.sequence(*parts) if kind == 9 else op.listed(*parts)
    if kind == 11:
        return op.dictionary({str(i): part for i, part in enumerate(parts)})
    if kind == 12:
        return op.call(op.named(*rng.choice(_ATTACKED_NAMES)), *parts)
    return rng.choice(ATTACKS[:9])(rng)


def _ndarray_of_buffer(rng: Random) -> bytes:
    """numpy.ndarray(shape, dtype, buffer, offset, strides)."""
    code = rng.choice(["O", "f8", "i8", "u1"])
    kind = rng.choice([op.text(code), op.dtype(code + ("8" if code == "O" else ""), "|" if code == "O" else "<")])
    arguments = [
        op.sequence(op.number(rng.choice([1, 4, 1 << 20, 1 << 40]))),
        kind,
        op.byte_string(rng.randbytes(64)),
        op.number(rng.choice([-(1 << 40), -(1 << 20), -4096, -8, 0, 8])),
        rng.choice([b"N", op.sequence(op.number(rng.choice([-8, 0, 8, 1 << 20])))]),
    ][: rng.choice([1, 2, 3, 4, 5])]
    return op.call(op.named("numpy", "ndarray"), *arguments)


def _stripped_dtype(rng: Random) -> bytes:
    """Objects read from raw bytes, by a dtype whose flags are taken away; or numbers with the flags of objects."""
    code = rng.choice(["O8", "f8", "U2", "S8"])
    kind = op.dtype(code, "|", rng.choice([-1, 8, 0]), rng.choice([0, 8, 63, 27]))
    count = rng.choice([1, 2, 5])
    raw = rng.choice([op.byte_string(rng.randbytes(8 * count)), op.python2_text(rng.randbytes(8 * count)), b"]"])
    if rng.random() < 0.5:
        return op.array_of_parts(op.sequence(op.number(count)), kind, raw)
    return op.call(op.named("numpy.core.multiarray", "scalar"), kind, raw)


def _array_of_odd_parts(rng: Random) -> bytes:
    """An array whose shape, dtype, order and bytes do not fit."""
    sides = [op.number(rng.choice(_ODD_NUMBERS)) for _ in range(rng.choice([0, 1, 2, 33]))]
    shape = rng.choice([op.sequence(*sides), _odd_value(rng, 2)])
    kind = rng.choice([op.dtype(rng.choice(_CODES), rng.choice("<>|="), rng.choice([-1, 0, 3, 8])), _odd_value(rng, 2)])
    content = rng.choice([op.byte_string(rng.randbytes(rng.choice([0, 3, 8, 72]))), _odd_value(rng, 2)])
    if rng.random() < 0.5:
        return op.array_of_parts(shape, kind, content, _odd_value(rng, 2))
    order = rng.choice([op.text("C"), op.text("F"), op.text("K"), _odd_value(rng, 2)])
    axes = [op.sequence(*(op.number(rng.choice([0, 1, 2, -1])) for _ in range(rng.randrange(4))))]
    function = op.named("numpy._core.numeric", "_frombuffer")
    return op.call(function, content, kind, shape, order, *(axes if rng.random() < 0.5 else []))


def _altered_function(rng: Random) -> bytes:
    """The state of a function or class, by which its defaults change for the whole process."""
    state = op.sequence(b"N", op.dictionary({"__defaults__": op.sequence(op.text("utf-8"), _odd_value(rng, 2))}))
    return op.named(*rng.choice(_ATTACKED_NAMES)) + rng.choice([state, _odd_value(rng, 2)]) + b"b"


def _doubling_selections(rng: Random) -> bytes:
    """Selections that take themselves and their indices from the one before."""
    made = op.array(np.arange(rng.choice([1, 4, 1000]))) + op.put(900)
    for _ in range(rng.choice([3, 20, 40])):
        made += b"0" + op.chumpy_selection(op.get(900), op.get(900), b"N") + op.put(900)
    return made


def _odd_selection(rng: Random) -> bytes:
    """A selection or sparse matrix of values that do not fit."""

    def indices() -> bytes:
        numbers = [number for number in _ODD_NUMBERS if -(1 << 63) <= number < 1 << 63]
        values = [rng.choice(numbers) for _ in range(rng.choice([1, 3, 5]))]
        return rng.choice(
            [op.array(np.array(values, np.int64)), op.array(np.array([0, 1, 2], "i4")), _odd_value(rng, 2)]
        )

    shape = op.sequence(op.number(rng.choice(_ODD_NUMBERS)), op.number(rng.choice([2, 4, 1 << 40])))
    if rng.random() < 0.5:
        return op.chumpy_selection(op.chumpy_array(op.array(np.arange(9.0))), indices(), rng.choice([shape, b"N"]))
    return op.csc_matrix_of_parts(shape, op.array(np.arange(3.0)), indices(), indices())


def _selection_of_itself(rng: Random) -> bytes:
    """An object or list that lies in itself."""
    name = rng.choice(["x", "a", "data"])
    if rng.random() < 0.5:
        return b"]" + op.put(901) + b"(" + op.get(901) * rng.choice([1, 2, 9]) + b"e"
    made = op.call(
        op.named("copy_reg", "_reconstructor"), op.named("chumpy", "Ch"), op.named("builtins", "object"), b"N"
    )
    return made + op.put(902) + op.dictionary({name: op.get(902), "x": op.get(902)}) + b"b"


def _nested_key(rng: Random) -> bytes:
    """A deeply nested tuple as a key or as a member of a set."""
    nested = b")" + b"\x85" * rng.choice([1, 1000, 100_000])
    in_set = op.call(op.named("builtins", "set"), op.listed(nested))
    return rng.choice([b"}" + nested + b"Ns", b"\x8f(" + nested + b"\x90", in_set])


def _deep_nesting(rng: Random) -> bytes:
    """Very many lists, tuples or objects in each other."""
    depth = rng.choice([50, 5000, 200_000])
    if rng.random() < 0.3:
        one = op.named("chumpy.ch", "Ch") + b")\x81" + b"}" + op.text("x")
        return one * (depth // 10) + b"N" + b"sb" * (depth // 10)
    return rng.choice([b"]" * depth + b"a" * (depth - 1), b")" + b"\x85" * depth, b"(" * depth + b"l" * depth])


def _much_work(rng: Random) -> bytes:
    """A little that is used again and again: lists of lists, sets of a long list, bytes of a long text."""
    what = rng.randrange(5)
    times = rng.choice([20, 3000])
    if what == 0:
        made = b"]" + op.put(903)
        for _ in range(rng.choice([7, 40])):
            made += b"](" + op.get(903) * rng.choice([2, 9]) + b"e" + op.put(903)
        return made
    if what == 1:
        members = b"](" + b"".join(op.number(1 << (i % 60)) for i in range(3000)) + b"e" + op.put(904) + b"0"
        return members + op.listed(*[op.call(op.named("builtins", "set"), op.get(904))] * times)
    if what == 2:
        long = op.text("x" * 1_000_000) + op.put(905) + b"0"
        return long + op.listed(*[op.call(op.named("_codecs", "encode"), op.get(905), op.text("latin1"))] * times)
    if what == 3:
        values = op.array(np.zeros(100_000)) + op.put(906) + b"0"
        return values + op.listed(*[op.get(906)] * times)
    pairs = op.listed(*(op.sequence(op.number(i << 40), b"N") for i in range(2000))) + op.put(907) + b"0"
    return pairs + op.listed(*[op.call(op.named("collections", "OrderedDict"), op.get(907))] * times)


def _odd_argument(rng: Random) -> bytes:
    """Opcodes whose argument says that it is huge, or is."""
    digits = b"7" * rng.choice([30, 5000, 1_000_000])
    return rng.choice([
        b"I" + digits + b"\n", b"L" + digits + b"L\n", b"F" + digits + b"\n", b"Fnan\n", b"g" + digits + b"\n",
        b"N" + b"p" + digits + b"\n", b"N" + b"r\xff\xff\xff\xff", b"\x8a\xff" + b"\x01" * 255,
        b"\x8b" + struct.pack("<i", rng.choice([-1, (1 << 31) - 1])),
        b"\x8b" + struct.pack("<i", 300_000) + b"\x7f" * 300_000,
        b"\x8e" + struct.pack("<Q", 1 << 60), b"\x96" + struct.pack("<Q", (1 << 64) - 1),
        b"\x95" + struct.pack("<Q", 1 << 62) + b"N",
        b"B\xff\xff\xff\xffx",
        b"X\xff\xff\xff\x7fx", b"T\xff\xff\xff\xffx", b"S'\\x\n", b"S\"a'\n", b"V\\ud800\\U99999999\n",
        b"\x82\x01", b"\x97", b"\x98", b"Pid\n", b"NQ", b"\x80\xff", b"(ios\nsystem\n", b"X\x02\x00\x00\x00\xff\xfe",
        b"c\xff\n\xff\n", b"c" + b"a" * 100_000 + b"\nb\n", b"NN\x93", b"(NNo", b"N)}\x92",
    ])  # fmt: skip


ATTACKS = [
    _ndarray_of_buffer, _stripped_dtype, _array_of_odd_parts, _altered_function, _odd_selection, _selection_of_itself,
    _doubling_selections, _nested_key, _odd_argument, _deep_nesting, _much_work, _odd_value, _odd_value,
]  # fmt: skip
"""Functions of a generator that give the opcodes of one value."""


def hostile_npz(rng: Random) -> bytes:
    """An archive whose arrays say that they are something else, or that unpacks to far too much."""
    buffer = io.BytesIO()
    how = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name in rng.sample([*_MANO_NAMES], 4):
            code = rng.choice(["<f8", "|O", "<U9", "<M8[s]", "<c16", "|V9", ">f4", "f8, f8", "('<f8', (99999999,))"])
            shape = rng.choice(["(3,)", "(12, 3)", f"({10**9}, {10**9})", "(-1, 3)", "(0, 99999999999)", "(" * 3000])
            header = f"{{'descr': '{code}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
            header = rng.choice([header] * 4 + [b"-" * 9000, b"[" * 9000, b"{" * 200])
            version = rng.choice([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
            size = struct.pack("<H" if version[0] == 1 else "<I", len(header))
            content = bytes(rng.choices([0, 288, 1 << 16, 1 << 26], [10, 20, 5, 0.2])[0])
            archive.writestr(name + ".npy", b"\x93NUMPY" + version + size + header + content)
    return buffer.getvalue()
