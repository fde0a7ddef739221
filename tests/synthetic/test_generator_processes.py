"""Worker processes of the generator end with the process that started them."""

import time

SCRIPT = """
import sys, time
from functools import partial
from pathlib import Path
from tqdm import tqdm
from hf_handdiff.synthetic.processes import run_jobs

def work(path, jobs, report):
    for job in jobs:
        time.sleep(0.1)
        with path.open("a") as file:
            file.write("done\\n")
        report(1)

if __name__ == "__main__":
    with tqdm(disable=True) as bar:
        run_jobs(partial(work, Path(sys.argv[1])), list(range(60)), 60, 2, bar)
"""


def count_lines(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_workers_of_a_killed_process_stop(warm, tmp_path):
    script, done = tmp_path / "script.py", tmp_path / "done"
    script.write_text(SCRIPT)
    process = warm.start(script, done)
    try:
        wait_for(lambda: count_lines(done) >= 2 or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    before = -1
    while before != count_lines(done):
        before = count_lines(done)
        time.sleep(1.0)
    assert 2 <= before < 40
