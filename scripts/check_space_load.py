"""Load on the Space of this tree, on the loopback interface alone: are all answers there, whole, and the right ones?

    python scripts/check_space_load.py                 # some minutes: 20 clients, 10 calls each, then a burst of 60
    python scripts/check_space_load.py --space OTHER   # the same for another copy of the folder `space`

It starts `app.py`, asks for each case alone, then lets all clients ask at once and compares each answer with the one
that was given alone. It prints how many were lost, wrong, or had a file of no bytes, the memory of the server before
and after, what a burst was told, and how many files were left behind. Exit status 1: something was lost or wrong.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
START_SECONDS, CALL_SECONDS = 240, 300
NUM_CASES = 20
SAME_M = 1e-6
"""Answers that differ by more than this, in metres, are others."""


@dataclass(frozen=True)
class Case:
    """What one call asks for."""

    photo: Path
    hypotheses: int
    steps: int
    mesh_steps: int
    seed: int

    @classmethod
    def numbered(cls, number: int, photos: list[Path]) -> Case:
        """Case 0, 1, ...: photos, hypotheses, steps and seeds that differ."""
        return cls(
            photos[number % len(photos)],
            (1, 2, 3, 5, 8)[number % 5],
            (3, 10, 25, 50)[number % 4],
            (2, 5, 15)[number % 3],
            number,
        )


@dataclass
class Tally:
    """What became of many calls."""

    answered: int = 0
    wrong: int = 0
    empty: list[str] = field(default_factory=list)
    refusals: collections.Counter = field(default_factory=collections.Counter)
    largest_difference_m: float = 0.0

    @property
    def lost(self) -> int:
        """Calls without an answer."""
        return sum(self.refusals.values())


class Refused(Exception):
    """A call that got no answer, and what it was told."""


def call(client: httpx.Client, case: Case) -> tuple[np.ndarray, list[str]]:
    """One call of the endpoint: joints (N, 21, 3) in metres, and which of its files had no bytes."""
    glb, answer, picture = ask(client, case)
    empty = [name for name, file in (("GLB", glb), ("picture", picture)) if not _bytes_of(client, file)]
    return np.array(answer["joints_m"]), empty


def ask(client: httpx.Client, case: Case) -> tuple[dict, dict, dict]:
    """One call of the endpoint: the GLB file, the content of the JSON file, and the picture.

    Raises:
        Refused: there is no answer.
    """
    uploaded = client.post("/gradio_api/upload", files={"files": (case.photo.name, case.photo.read_bytes())})
    if uploaded.status_code != 200:
        raise Refused(f"upload: HTTP {uploaded.status_code}")
    photo = {"path": uploaded.json()[0], "orig_name": case.photo.name, "meta": {"_type": "gradio.FileData"}}
    data = [photo, "detect", case.hypotheses, case.steps, case.mesh_steps, case.seed, "mean"]
    joined = client.post("/gradio_api/call/predict", json={"data": data})
    if joined.status_code != 200:
        raise Refused(f"HTTP {joined.status_code}: {joined.text[:200]}")
    stream = client.get(f"/gradio_api/call/predict/{joined.json()['event_id']}").text
    kind, content = _last_event(stream)
    if kind != "complete":
        raise Refused(f"{kind}: {content}")
    return tuple(json.loads(content))


def _last_event(stream: str) -> tuple[str, str]:
    kind, content = "no response", ""
    for line in stream.splitlines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            content = line[6:]
    return kind, content


def _bytes_of(client: httpx.Client, file: dict) -> bytes:
    response = client.get(f"/gradio_api/file={file['path']}")
    if response.status_code != 200:
        raise Refused(f"file: HTTP {response.status_code}")
    return response.content


def tally_calls(address: str, plans: list[list[Case]], alone: dict[Case, np.ndarray | None]) -> Tally:
    """Let as many clients as there are plans make their calls, all at once.

    Args:
        address: where the Space is.
        plans: the calls of each client.
        alone: the joints that each case gave alone; None: they are not compared.
    """
    tally = Tally()

    def one_client(plan: list[Case]) -> list[tuple[Case, object]]:
        outcomes = []
        with httpx.Client(base_url=address, timeout=CALL_SECONDS) as client:
            for case in plan:
                try:
                    outcomes.append((case, call(client, case)))
                except Refused as refusal:
                    outcomes.append((case, str(refusal)))
                except (httpx.HTTPError, ValueError) as error:
                    outcomes.append((case, f"{type(error).__name__}: {error}"))
        return outcomes

    with concurrent.futures.ThreadPoolExecutor(len(plans)) as clients:
        for case, outcome in (pair for pairs in clients.map(one_client, plans) for pair in pairs):
            if isinstance(outcome, str):
                tally.refusals[outcome] += 1
                continue
            joints, empty = outcome
            tally.answered += 1
            tally.empty += empty
            difference = 0.0 if alone[case] is None else float(np.abs(joints - alone[case]).max())
            tally.largest_difference_m = max(tally.largest_difference_m, difference)
            tally.wrong += difference > SAME_M
    return tally


def fetch_while_asked_again(address: str, case: Case, calls: int) -> tuple[int, int]:
    """Fetch the picture of an answer again and again, while others ask for the same answer.

    Returns:
        How often it was fetched, and how often less than all of it came.
    """
    with httpx.Client(base_url=address, timeout=CALL_SECONDS) as client:
        _, _, picture = ask(client, case)
        whole = len(_bytes_of(client, picture))
        fetched = short = 0
        with concurrent.futures.ThreadPoolExecutor(1) as other:
            asking = other.submit(tally_calls, address, [[case] * (calls // 2)] * 2, {case: None})
            while not asking.done():
                fetched += 1
                try:
                    short += len(_bytes_of(client, picture)) != whole
                except httpx.RemoteProtocolError:  # fewer bytes came than were announced
                    short += 1
        return fetched, short


@contextmanager
def served(space: Path, folder: Path, environment: dict[str, str] | None = None):
    """Serve a copy of the Space on a free port; yields its address and its process.

    Args:
        space: the folder with `app.py`.
        folder: where its temporary files and its log go.
        environment: variables besides those of this process.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = (
        os.environ
        | (environment or {})
        | {
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_TEMP_DIR": str(folder / "gradio"),
            "TMPDIR": str(folder),
        }
    )
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen([sys.executable, "app.py"], cwd=space, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, server, folder / "log.txt")
        yield address, psutil.Process(server.pid)
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(address, timeout=5)
            return
        except httpx.HTTPError:
            time.sleep(0.3)
    raise SystemExit(f"the Space did not start: {log.read_text()[-2000:]}")


def main() -> int:
    """Run the check; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", type=Path, default=ROOT / "space", help="the folder with app.py")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--calls", type=int, default=10, help="of each client")
    parser.add_argument("--burst", type=int, default=60, help="calls at the same moment; 0: none")
    asked = parser.parse_args()
    photos = sorted((asked.space / "examples").glob("*.jpg"))
    cases = [Case.numbered(number, photos) for number in range(NUM_CASES)]
    plans = [[cases[(client + turn) % NUM_CASES] for turn in range(asked.calls)] for client in range(asked.clients)]

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with served(asked.space.resolve(), folder) as (address, process):
            with httpx.Client(base_url=address, timeout=CALL_SECONDS) as client:
                alone = {case: call(client, case)[0] for case in cases}
            before = process.memory_info().rss
            started = time.monotonic()
            load = tally_calls(address, plans, alone)
            seconds = time.monotonic() - started
            after = process.memory_info().rss
            _tell(f"{asked.clients} clients x {asked.calls}", load, seconds)
            print(f"memory of the server: {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after")
            if asked.burst:
                started = time.monotonic()
                burst = tally_calls(address, [[cases[number % NUM_CASES]] for number in range(asked.burst)], alone)
                _tell(f"burst of {asked.burst}", burst, time.monotonic() - started)
                print(f"memory after the burst: {process.memory_info().rss / 2**20:.0f} MiB")
            fetched, short = fetch_while_asked_again(address, cases[0], asked.calls)
            print(f"a picture fetched {fetched} times while others asked for the same: {short} times not whole")
            kept = _files(folder)
        print(f"files of the Space: {kept} while it ran, {_files(folder)} after its end")
    return int(bool(load.lost or load.wrong or load.empty or short))


def _tell(name: str, tally: Tally, seconds: float) -> None:
    print(
        f"{name}: {tally.answered} answered in {seconds:.0f} s, {tally.lost} lost, {tally.wrong} wrong "
        f"(largest difference {1000 * tally.largest_difference_m:.3f} mm), {len(tally.empty)} files of no bytes "
        f"{dict(collections.Counter(tally.empty))}"
    )
    for refusal, count in tally.refusals.most_common():
        print(f"    {count} x {refusal}")


def _files(folder: Path) -> int:
    """How many files of answers and uploads there are; libraries make temporary files without a suffix."""
    return sum(path.suffix in {".jpg", ".glb", ".json"} for path in folder.rglob("*"))


if __name__ == "__main__":
    sys.exit(main())
