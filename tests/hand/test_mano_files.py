"""Official MANO pickles: read without chumpy, and nothing in them is run."""

import pickle
import sys
import types
import zipfile

import numpy as np
import pytest
import scipy.sparse
import torch

from hf_handdiff.errors import InputError
from hf_handdiff.hand.layer import HandLayer
from hf_handdiff.hand.mano_files import RefusedPickleError, load_mano_file, read_mano_pickle
from hf_handdiff.hand.mano_layer import load_mano_layer
from hf_handdiff.hand.open_hand import OPEN_HAND_PATH, load_open_hand_arrays
from hf_handdiff.hand.poses import sample_poses
from hf_handdiff.hand.topology import FINGERTIP_VERTICES, FINGERTIPS, MANO_FINGERTIP_VERTICES, NUM_JOINTS


def mano_arrays() -> dict:
    arrays = {name: np.array(array) for name, array in load_open_hand_arrays().items()}
    names = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
    return {name: arrays[name] for name in names} | {
        "hands_mean": arrays["hands_mean"],
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture
def fake_modules(monkeypatch):
    """Modules named as chumpy's and old scipy's, present only while the test writes its pickle."""

    class Ch:
        def __init__(self, x):
            self.x, self._dirty_vars, self._itr = x, {"x"}, None

    class Select:
        def __init__(self, a, idxs, preferred_shape):
            self.a, self.idxs, self.preferred_shape, self._dirty_vars = a, idxs, preferred_shape, set()

    class csc_matrix:
        def __init__(self, dense):
            matrix = scipy.sparse.csc_matrix(dense)
            self._shape, self.maxprint, self.format = matrix.shape, 50, "csc"
            self.data, self.indices, self.indptr = matrix.data, matrix.indices, matrix.indptr

    made = {"chumpy": None, "chumpy.ch": Ch, "chumpy.reordering": Select}
    for module_name, cls in (made | {"oldscipy": None, "oldscipy.csc": csc_matrix}).items():
        module = types.ModuleType(module_name)
        if cls is not None:
            cls.__module__, cls.__qualname__ = module_name, cls.__name__
            setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, module_name, module)
    return types.SimpleNamespace(Ch=Ch, Select=Select, csc_matrix=csc_matrix)


def official_looking(fakes) -> dict:
    """As in the official file: selections of chumpy arrays, a sparse regressor."""
    arrays = mano_arrays()
    shapedirs = arrays["shapedirs"].astype(np.float64)
    padded = np.concatenate([np.zeros((3, *shapedirs.shape[1:])), shapedirs])
    indices = np.arange(padded[:3].size, padded.size)
    arrays["shapedirs"] = fakes.Select(fakes.Ch(padded), indices, shapedirs.shape)
    arrays["posedirs"] = fakes.Ch(arrays["posedirs"])
    arrays["J_regressor"] = fakes.csc_matrix(arrays["J_regressor"])
    return arrays


def write_pickle(path, content, protocol, python2=False):
    data = pickle.dumps(content, protocol)
    if python2:  # the names under which Python 2 and numpy 1 wrote them
        replacements = [
            (b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"),
            (b"ccopyreg\n", b"ccopy_reg\n"),
            (b"cbuiltins\n", b"c__builtin__\n"),
            (b"coldscipy.csc\n", b"cscipy.sparse.csc\n"),
        ]
        for new, old in replacements:
            data = data.replace(new, old)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_reads_a_pickle_like_the_official_one(tmp_path, fake_modules, monkeypatch, protocol):
    path = write_pickle(tmp_path / "MANO_RIGHT.pkl", official_looking(fake_modules), protocol, python2=True)
    assert b"chumpy" in path.read_bytes()
    for name in [name for name in sys.modules if name.startswith(("chumpy", "oldscipy"))]:
        monkeypatch.delitem(sys.modules, name)
    read, expected = read_mano_pickle(path), mano_arrays()
    for name in ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table"):
        assert np.array_equal(read[name], expected[name]), name
    assert not any(name.startswith("chumpy") for name in sys.modules)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_reads_plain_numpy_and_scipy_pickles(tmp_path, protocol):
    arrays = mano_arrays()
    arrays["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    read = load_mano_file(write_pickle(tmp_path / "MANO_RIGHT.pkl", arrays, protocol))
    assert np.array_equal(read["J_regressor"], mano_arrays()["J_regressor"])
    assert np.array_equal(read["v_template"], mano_arrays()["v_template"])


@pytest.mark.parametrize(("topology", "its_tips"), [("other", MANO_FINGERTIP_VERTICES), ("open", FINGERTIP_VERTICES)])
def test_layer_from_a_pickle_fits_its_own_joint_reader(tmp_path, topology, its_tips):
    """Its fingertips are where MANO has them; those of the open hand in MANO's format where the open hand has them."""
    arrays = mano_arrays()
    arrays["f"] = arrays["f"] if topology == "open" else arrays["f"][::-1].copy()
    layer = load_mano_layer(write_pickle(tmp_path / "MANO_RIGHT.pkl", arrays, 2))
    open_hand = HandLayer.open_hand()
    posed, same = (hand(torch.zeros(1, 16, 3), torch.ones(1, 10)) for hand in (layer, open_hand))
    tips = list(FINGERTIPS)
    inner = [joint for joint in range(NUM_JOINTS) if joint not in tips]
    assert torch.equal(posed.joints[:, inner], same.joints[:, inner])
    tip_vertices = list(its_tips.values())
    assert torch.equal(posed.joints[:, tips], posed.vertices[:, tip_vertices])
    assert torch.allclose(layer.mesh_to_joints.sum(1), torch.ones(21), atol=1e-5)
    posed = open_hand(sample_poses(50, torch.Generator().manual_seed(0)), torch.zeros(50, 10))
    difference = layer.read_joints(posed.vertices) - open_hand.read_joints(posed.vertices)
    assert difference[:, inner].norm(dim=-1).max() < 0.5e-3  # m; fitted to other draws of the pose sampler
    assert torch.allclose(layer.read_joints(posed.vertices)[:, tips], posed.vertices[:, tip_vertices])


def test_layer_from_npz_is_the_open_hand():
    layer, open_hand = load_mano_layer(OPEN_HAND_PATH), HandLayer.open_hand()
    for name, buffer in open_hand.named_buffers():
        assert torch.equal(layer.get_buffer(name), buffer), name


class _RunsACommand:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pickle_is_refused_by_name_and_not_run(tmp_path, protocol):
    trace = tmp_path / "was_run"
    content = mano_arrays() | {"extra": _RunsACommand(trace)}
    path = write_pickle(tmp_path / "MANO_RIGHT.pkl", content, protocol)
    with pytest.raises(RefusedPickleError, match=r"(posix|nt)\.system"):
        load_mano_layer(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n(cnumpy\nndarray\nS'mro'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__new__.fn\x93.",
        b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        b"cchumpy.ch\nMatVecMult\n.",
    ],
)
def test_other_names_are_refused(tmp_path, pickled):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickled)
    with pytest.raises(RefusedPickleError, match="it asks for"):
        read_mano_pickle(path)


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"not a pickle",
        b"ccopy_reg\n_reconstructor\n(c__builtin__\nset\nc__builtin__\nobject\nNtR.",
        b"cnumpy\nndarray\n(I-1\ntR.",
        b"cchumpy.ch\nCh\n(tR(I1\nI2\nI3\ntb.",
        pickle.dumps([1, 2, 3]),
        pickle.dumps({"v_template": None}),
        pickle.dumps(mano_arrays())[:5000],
    ],
)
def test_broken_pickles_get_one_sentence(tmp_path, pickled):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickled)
    with pytest.raises(ValueError) as error:
        load_mano_file(path)
    assert "MANO_RIGHT.pkl" in str(error.value) and "\n" not in str(error.value)


def without(name):
    return lambda arrays: arrays.pop(name)


def replaced(name, value):
    return lambda arrays: arrays.update({name: value})


def mirrored(arrays):
    arrays["v_template"] = arrays["v_template"] * [-1, 1, 1]


@pytest.mark.parametrize(
    "change, message",
    [
        (without("weights"), "weights missing"),
        (without("J_regressor"), "J_regressor missing"),
        (replaced("v_template", np.zeros((6890, 3))), r"v_template has shape \(6890, 3\), expected \(778"),
        (replaced("shapedirs", np.zeros((778, 3, 4))), "shapedirs has shape"),
        (replaced("posedirs", np.zeros((778, 3, 9))), "posedirs has shape"),
        (replaced("f", np.full((1538, 3), 900)), "triangles of 778 vertices"),
        (replaced("weights", np.zeros((778, 16))), "weights do not sum to 1"),
        (replaced("hands_mean", np.zeros(44)), r"hands_mean has shape \(44,\)"),
        (replaced("tips", np.full(5, 778)), "tips are not 5 of its 778 vertices"),
        (
            replaced("v_template", 1000 * mano_arrays()["v_template"]),
            "v_template holds values of more than 10, expected metres",
        ),
        (replaced("f", np.full((1538, 3), "0")), "triangles of 778 vertices"),
        (replaced("kintree_table", np.full((2, 16), np.nan)), "tree of joints"),
        (replaced("weights", np.full((778, 16), np.nan)), "weights holds values that are not finite"),
        (replaced("kintree_table", np.zeros((2, 16), int)), "tree of joints"),
        (mirrored, "left hand"),
    ],
)
def test_other_hands_are_refused_in_one_sentence(tmp_path, change, message):
    arrays = mano_arrays()
    change(arrays)
    path = write_pickle(tmp_path / "MANO_RIGHT.pkl", arrays, 2)
    with pytest.raises(ValueError, match=message) as error:
        load_mano_layer(path)
    assert "\n" not in str(error.value)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_mano_layer(tmp_path / "MANO_RIGHT.pkl")
    (tmp_path / "hand.npz").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="npz"):
        load_mano_layer(tmp_path / "hand.npz")
    np.savez(tmp_path / "objects.npz", v_template=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="npz"):
        load_mano_layer(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    "header, message",
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"(" * 3000, "not a readable npz file"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 100000), }", "has shape .* and too few bytes"),
        (b"{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }", "neither numbers nor text"),
    ],
)
def test_arrays_of_an_npz_file_that_are_not_what_they_say_get_one_sentence(tmp_path, header, message):
    with zipfile.ZipFile(tmp_path / "hand.npz", "w") as archive:
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
        archive.writestr("v_template.npy", content)
    with pytest.raises(InputError, match=message) as error:
        load_mano_file(tmp_path / "hand.npz")
    assert str(error.value).isprintable()


def test_an_npz_file_that_unpacks_to_far_too_much_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "hand.npz", v_template=np.zeros(10_000_000))
    with pytest.raises(InputError, match="unpacks to more than 64 MB"):
        load_mano_file(tmp_path / "hand.npz")
