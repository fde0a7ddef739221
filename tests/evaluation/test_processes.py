"""One evaluation shared by two processes is the evaluation of one."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
from datasets import Dataset
from test_protocol import KnownPredictor, run

from hf_handdiff.cli.main import main
from hf_handdiff.data.features import CORPUS_FEATURES
from hf_handdiff.evaluation import protocol
from hf_handdiff.evaluation.processes import ALL_OF_IT, ProcessShare, join_processes


def assert_equal_scores(first, second):
    first, second = first.to_arrays(), second.to_arrays()
    assert set(first) == set(second)
    for name in set(first) - {"seconds"}:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@dataclass
class FakeState:
    """What `ProcessShare` asks of accelerate's state; counts the waits."""

    waits: list = field(default_factory=list)
    device: str = "cpu"

    def wait_for_everyone(self):
        self.waits.append(True)


@pytest.mark.parametrize("num_rows", [60, 30, 40, 7])
@pytest.mark.parametrize("kind", ["list", "stream"])
def test_chunks_go_round(rows, tmp_path, monkeypatch, kind, num_rows):
    """Ends of the data within a chunk, at its end, and where a process has nothing to do."""
    monkeypatch.setattr(protocol, "CHUNK_SIZE", 10)
    columns = {name: feature for name, feature in CORPUS_FEATURES.items() if name in rows[0]}
    data = rows[:num_rows]
    if kind == "stream":
        data = Dataset.from_list(data, features=type(CORPUS_FEATURES)(columns)).to_iterable_dataset()
    whole = run(KnownPredictor(), data, tmp_path / "one")
    second, first = KnownPredictor(), KnownPredictor()
    state = FakeState()
    # Run one after the other, the process that joins last: what the wait makes sure of.
    assert run(second, data, tmp_path / "two", share=ProcessShare(1, 2, state)) is None
    joined = run(first, data, tmp_path / "two", share=ProcessShare(0, 2, state))
    assert_equal_scores(whole, joined)
    assert len(state.waits) == 2 and not set(first.seen) & set(second.seen)
    assert all((index // 10) % 2 == 0 for index in first.seen)


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_processes() as share:
        assert share is ALL_OF_IT and share.is_main and share.is_assigned(7) and share.device is None
        share.wait()


@pytest.mark.slow
def test_two_real_processes_equal_one(tiny_pipeline, rows, tmp_path, warm):
    """Two processes, as torchrun starts them, on two chunks, and `handdiff evaluate` alone, on the same checkpoint."""
    tiny_pipeline.save_pretrained(tmp_path / "checkpoint")
    zeros = {"pose_rad": np.zeros((16, 3)), "shape": [0.0] * 10, "translation_m": [0.0] * 3, "skin_tone": 0.5}
    (tmp_path / "corpus").mkdir()
    complete = [{**row, **zeros} for row in rows[:-2]]
    path = tmp_path / "corpus" / "test-00000-of-00001.parquet"
    Dataset.from_list(complete, features=CORPUS_FEATURES).to_parquet(path)
    arguments = ["evaluate", "--checkpoint", tmp_path / "checkpoint", "--data", tmp_path / "corpus", "--device", "cpu"]
    arguments = [*map(str, arguments), "--num-hypotheses", "2", "--pictures", "0", "--streaming", "--out"]

    assert main([*arguments, str(tmp_path / "one")]) == 0
    ended = warm.run_group(2, "-m", "hf_handdiff", *arguments, tmp_path / "two")
    for process in ended:
        assert process.returncode == 0, process.stderr[-3000:]
    assert "".join(process.stdout for process in ended).count("# Evaluation\n") == 1  # one process reports
    one, two = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    del one["median_ms_per_image"], two["median_ms_per_image"]
    assert_almost_equal(one, two)
    chunks = [sorted(path.name for path in (tmp_path / name / "chunks").iterdir()) for name in ("one", "two")]
    assert chunks[0] == chunks[1] and len(chunks[0]) == 2


def assert_almost_equal(one, two, place="results"):
    """Equal but for rounding, which hangs on the number of threads and which an untrained encoder amplifies."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), place
        for key in one:
            assert_almost_equal(one[key], two[key], f"{place}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(two), place
        for number, pair in enumerate(zip(one, two, strict=True)):
            assert_almost_equal(*pair, f"{place}[{number}]")
    elif isinstance(one, float):
        assert one == pytest.approx(two, rel=1e-3, abs=1e-5), place
    else:
        assert one == two, place
