"""Rendering by several processes: jobs that are shared out, one thread each, and a progress bar."""

import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from tqdm import tqdm

WAIT_S = 1.0

Work = Callable[[Iterable, Callable[[int], None]], None]
"""Does all jobs that it is given, and tells how many samples it made since it last told."""


def run_jobs(work: Work, jobs: Sequence, num_samples: int, num_workers: int, bar: tqdm) -> None:
    """Do `jobs`, in this process where one is enough, else in at most `num_workers` others.

    Args:
        work: something that can be pickled, at the top of a module; see `Work`.
        jobs: tuples that it knows what to do with; in any order.
        num_samples: that it will tell of, in all.
        num_workers: processes, of one thread each.
        bar: moved on by what it tells.

    Raises:
        RuntimeError: a worker failed.
    """
    count = min(num_workers, len(jobs))
    if count > 1:
        _run_workers(work, jobs, num_samples, count, bar)
    elif jobs:  # for one job it is not worth starting a process
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            work(iter(jobs), bar.update)
        finally:
            torch.set_num_threads(threads)


def _worker(work: Work, jobs, messages) -> None:
    """A worker process: takes jobs from the queue `jobs` until there are none, or until its parent was killed."""
    parent = multiprocessing.parent_process()

    def report(count: int) -> None:
        if not parent.is_alive():
            messages.cancel_join_thread()  # nobody reads it
            sys.exit(1)
        messages.put(count)

    try:
        work(iter(jobs.get, None), report)
    except Exception as error:  # told to the parent, which raises it
        messages.put(f"{type(error).__name__}: {error}")
        raise


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started within never see Ctrl-C, which a terminal sends to all: their parent ends them."""
    if threading.current_thread() is not threading.main_thread():  # others may not change it
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run_workers(work: Work, jobs: Sequence, num_samples: int, num_workers: int, bar: tqdm) -> None:
    """Share `jobs` out to processes of one thread each; raises RuntimeError when one of them fails."""
    context = multiprocessing.get_context("spawn")
    todo, messages = context.Queue(), context.Queue()
    for job in [*jobs, *[None] * num_workers]:
        todo.put(job)
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    os.environ.update(dict.fromkeys(threads, "1"))
    processes = [context.Process(target=_worker, args=(work, todo, messages), daemon=True) for _ in range(num_workers)]
    try:
        with _without_ctrl_c():
            for process in processes:
                process.start()
    finally:
        for name, value in threads.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    left = num_samples
    try:
        while left:
            try:
                message = messages.get(timeout=WAIT_S)
            except queue.Empty:
                if all(not process.is_alive() for process in processes):
                    raise RuntimeError("the workers ended before all was done: run again to carry on") from None
                continue
            if isinstance(message, str):
                raise RuntimeError(f"a worker failed: {message}")
            left -= message
            bar.update(message)
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError("a worker failed after its last sample: run again to carry on")
