"""The line: so many at once, so many waiting, and who comes then is told when to come again."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

line = pytest.importorskip("line")  # space/ is put on the path by conftest.py


class Counted:
    """Work that notes how many of it run at the same time."""

    def __init__(self, seconds=0.02):
        self.seconds, self.now, self.most, self.done = seconds, 0, 0, []
        self.lock = threading.Lock()

    def __call__(self, number):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
            self.done.append(number)
        return number


def run(coroutine):
    """What a coroutine returns, run in a thread of its own: in the tests' thread Playwright's browser keeps a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_only_so_many_run_at_once_in_their_order():
    async def many():
        waiting = line.Line(at_once=2, most_waiting=30)
        results = await asyncio.gather(*(waiting.run(work, number) for number in range(12)))
        waiting.close()
        return results

    work = Counted()
    assert run(many()) == list(range(12)) and work.most == 2
    assert out_of_order(work.done) <= 1


def out_of_order(done):
    """By how many places work ended out of its order at most."""
    return max(abs(place - number) for place, number in enumerate(done))


def test_who_finds_it_full_is_told_when_to_come_again():
    async def many():
        waiting = line.Line(at_once=1, most_waiting=2)
        results = await asyncio.gather(*(waiting.run(work, number) for number in range(5)), return_exceptions=True)
        waiting.close()
        return results

    work = Counted()
    results = run(many())
    assert results[:3] == [0, 1, 2]
    for refusal in results[3:]:
        assert isinstance(refusal, line.Busy)
        assert "2 others are waiting" in str(refusal) and "Come again in about 10 seconds." in str(refusal)


def test_who_goes_away_gives_its_place_free_and_what_runs_keeps_its_own():
    async def come_and_go():
        waiting = line.Line(at_once=1, most_waiting=1)
        running = asyncio.ensure_future(waiting.run(work, 0))
        left = asyncio.ensure_future(waiting.run(work, 1))
        await asyncio.sleep(0.02)
        left.cancel()
        running.cancel()  # its thread goes on
        await asyncio.sleep(0)
        results = await asyncio.gather(waiting.run(work, 2))
        waiting.close()
        return results

    work = Counted(0.1)
    assert run(come_and_go()) == [2]
    assert work.done == [0, 2] and work.most == 1
