"""JSON of others: a value, or one short sentence."""

import json
import os

import numpy as np
import pytest

from hf_handdiff.data.shards import claim_folder
from hf_handdiff.errors import InputError
from hf_handdiff.evaluation.calibration import write_calibration
from hf_handdiff.evaluation.protocol import EvaluationSettings
from hf_handdiff.evaluation.protocol import claim_folder as claim_evaluation
from hf_handdiff.hub.push import read_results
from hf_handdiff.json_files import finite_numbers, parse_json, read_json, shown

NOT_JSON = {
    "nothing": b"",
    "half": b'{"a": [1, 2',
    "brackets": b"[" * 100_000,
    "objects": b'{"a":' * 100_000,
    "digits": b"9" * 5000,
    "latin": b'{"a": "\xe4"}',
    "zeros": bytes(50),
    "large": b" " * 100_000_000 + b"1",
}
NOT_FINITE = {"nan": b"[NaN]", "infinity": b"[-Infinity]", "power": b"1e999", "whole": b"-" + b"9" * 400}


def refuse(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert len(message) < 300 and all(word in message for word in words), message


@pytest.mark.parametrize("text", [*NOT_JSON.values(), *NOT_FINITE.values()], ids=[*NOT_JSON, *NOT_FINITE])
def test_every_failure_is_one_sentence(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text)
    refuse(lambda: read_json(tmp_path / "x.json", "--x"), "--x: ", "x.json")


@pytest.mark.parametrize("text", NOT_FINITE.values(), ids=NOT_FINITE)
def test_numbers_may_be_left_as_they_are(text):
    assert parse_json(text, "x", finite=False) is not None


def test_values_come_through(tmp_path):
    value = {"a": [1, -2.5e3, None, True, "\u00e4"], "b": {"c": 10**300}}
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "x.json").write_text(json.dumps(value, ensure_ascii=False), encoding=encoding)
        assert read_json(tmp_path / "x.json", "x") == value


def test_what_is_no_file_is_said(tmp_path):
    for path in (tmp_path / "missing", tmp_path, "a\0b"):
        refuse(lambda path=path: read_json(path, "--x"), "--x: ")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices")
def test_what_never_ends_is_not_read_to_its_end():
    refuse(lambda: read_json("/dev/zero", "--x"), "too large")


def test_numbers_of_a_list():
    assert finite_numbers(["1", 2, np.float32(3)], 3) == (1.0, 2.0, 3.0)
    for values in (None, "123", [1, 2], [1, 2, True], [1, 2, 10**400], [1, 2, "9" * 400], [1, 2, "nan"], [1, 2, [3]]):
        assert finite_numbers(values, 3) is None
    assert max(len(shown(value)) for value in (10**400, 10**5000, "a" * 10**6, ["9" * 10**6] * 6, [[[]]] * 10**6)) < 500


@pytest.mark.parametrize("text", [*NOT_JSON.values(), b"[1]"], ids=[*NOT_JSON, "list"])
@pytest.mark.parametrize("reader", ["results", "corpus", "evaluation", "checkpoint"])
def test_every_reader_of_a_folder_says_so(tmp_path, text, reader):
    name, read = {
        "results": ("results.json", lambda: read_results(tmp_path)),
        "corpus": ("train.json", lambda: claim_folder(tmp_path / "train.json", {})),
        "evaluation": ("settings.json", lambda: claim_evaluation(tmp_path, EvaluationSettings("p", "data", "test", 1))),
        "checkpoint": ("model_index.json", lambda: write_calibration(tmp_path, None)),
    }[reader]
    (tmp_path / name).write_bytes(text)
    refuse(read, name)
