"""Files that attack their reader: each ends as one sentence, in a process of its own that must not be harmed."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import pickle_mutations as mutations  # noqa: E402
import pickle_opcodes as op  # noqa: E402


def fuzz_pickles(*arguments):
    command = [sys.executable, str(SCRIPTS / "fuzz_pickles.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def with_field(value: bytes, before: bytes = b"", **changed: bytes) -> bytes:
    """A good annotation of HO3D with one field more."""
    fields = {name: mutations._plain(field) for name, field in mutations.ho3d_annotation().items()}
    return b"\x80\x02" + before + op.dictionary(fields | changed | {"more": value}) + b"."


def ndarray(shape, code, content, offset=0):
    name = op.named("numpy", "ndarray")
    return op.call(name, op.sequence(op.number(shape)), op.text(code), op.byte_string(content), op.number(offset))


def small_hand(**fields: bytes) -> bytes:
    return b"\x80\x02" + op.dictionary({"v_template": op.array(np.zeros((778, 3)))} | fields) + b"."


def doubling_selections() -> bytes:
    made = op.array(np.arange(4)) + op.put(900)
    for _ in range(40):
        made += b"0" + op.chumpy_selection(op.get(900), op.get(900), b"N") + op.put(900)
    return made


def doubling_lists() -> bytes:
    made = b"]K\x01a" + op.put(900)
    for _ in range(40):
        made += b"0](" + op.get(900) + op.get(900) + b"e" + op.put(900)
    return made


stripped = op.dtype("O8", "|", flags=0)  # a dtype of objects that says it holds none
eight = op.sequence(op.number(1))
altered = op.sequence(b"N", op.dictionary({"__defaults__": op.sequence(op.text("latin1"))}))
nested = b")" + b"\x85" * 200_000
long_list = op.listed(*[op.number(i) for i in range(50_000)]) + op.put(900) + b"0"

ATTACKS = {
    "ho3d-ndarray-of-a-buffer": with_field(ndarray(8, "u1", bytes(64))),
    "ho3d-ndarray-before-its-buffer": with_field(ndarray(8, "u1", bytes(64), -4096)),
    "ho3d-ndarray-of-objects": with_field(ndarray(1, "O", b"\x41" * 8)),
    "ho3d-dtype-without-its-flags": with_field(op.array_of_parts(eight, stripped, op.byte_string(b"\x41" * 8))),
    "ho3d-scalar-without-its-flags": with_field(
        op.call(op.named("numpy.core.multiarray", "scalar"), stripped, op.byte_string(b"\x41" * 8))
    ),
    "ho3d-defaults-of-a-function": with_field(op.named("_codecs", "encode") + altered + b"b"),
    "ho3d-nested-key": with_field(b"}" + nested + b"Ns"),
    "ho3d-nested-member": with_field(op.call(op.named("builtins", "set"), op.listed(nested))),
    "ho3d-doubling-lists": with_field(b"N", camMat=doubling_lists()),
    "ho3d-sets-of-a-long-list": with_field(
        op.listed(*[op.call(op.named("builtins", "set"), op.get(900))] * 3000), long_list
    ),
    "ho3d-number-of-a-million-digits": with_field(b"L" + b"7" * 1_000_000 + b"L\n"),
    "ho3d-huge-number": with_field(b"\x8b\xff\xff\xff\x7f"),
    "mano.pkl-doubling-selections": small_hand(shapedirs=doubling_selections()),
    "mano.pkl-pointers-out-of-bounds": small_hand(
        J_regressor=op.csc_matrix_of_parts(
            op.sequence(op.number(16), op.number(2)),
            op.array(np.ones(1)),
            op.array(np.array([0])),
            op.array(np.array([0, 0, 1 << 40])),
        )
    ),
    "mano.pkl-nested-name": b"\x80\x02}" + nested + b"Ns.",
}


def test_attacks_end_as_a_sentence_each(tmp_path):
    paths = []
    for name, content in ATTACKS.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(content)
    (tmp_path / "ho3d-good").write_bytes(with_field(b"N"))
    ran = fuzz_pickles("--read", *paths, tmp_path / "ho3d-good")
    outcomes = dict(line.split(": ", 1) for line in ran.stdout.splitlines())
    assert outcomes == dict.fromkeys(ATTACKS, "sentences") | {"ho3d-good": "hands and annotations"}, ran.stderr


@pytest.mark.slow
def test_a_short_fuzzing_run_ends_as_hands_and_sentences():
    ran = fuzz_pickles("--files", "200", "--seed", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counts = {name: int(count) for count, name in re.findall(r"^ +(\d+)  (.+)$", ran.stdout, re.MULTILINE)}
    assert set(counts) == {"sentences", "hands and annotations"} and sum(counts.values()) == 200


def test_python2_strings_with_bytes_are_read(tmp_path):
    """Protocol 0 of Python 2 wrote the bytes of arrays as quoted strings."""
    from hf_handdiff.hand.mano_files import read_mano_pickle

    values = np.linspace(-1, 1, 7)
    shape, content = op.sequence(op.number(7)), b"S" + repr(values.tobytes())[1:].encode() + b"\n"
    pickled = op.dictionary({"values": op.array_of_parts(shape, op.dtype("f8"), content)}) + b"."
    (tmp_path / "MANO.pkl").write_bytes(pickled)
    np.testing.assert_array_equal(read_mano_pickle(tmp_path / "MANO.pkl")["values"], values)


@pytest.mark.parametrize("order", ["C", "F", "K"])
def test_arrays_in_any_order_and_byte_order_are_read(tmp_path, order):
    import pickle

    from hf_handdiff.hand.mano_files import read_mano_pickle

    values = np.arange(24.0, dtype=">f8").reshape(2, 3, 4)
    values = {"C": values, "F": np.asfortranarray(values), "K": values.transpose(1, 0, 2)}[order]
    (tmp_path / "MANO.pkl").write_bytes(pickle.dumps({"values": values, "empty": np.zeros((0, 3))}, 5))
    read = read_mano_pickle(tmp_path / "MANO.pkl")
    np.testing.assert_array_equal(read["values"], values)
    assert read["values"].dtype.isnative and read["empty"].shape == (0, 3)
