"""An evaluation shared out over several processes, as `accelerate launch` or `torchrun` starts them.

Chunks go round: process r of W measures chunks r, r + W, r + 2 W, ... and writes each to the common folder of
the run; the first process waits for the others, joins the chunks and reports. Nothing else is exchanged, so the
results are those of one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

# The first process waits for the slowest one: an evaluation takes as long as it takes.
_LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True)
class ProcessShare:
    """Which part of a run this process does; the default is all of it.

    Attributes:
        index: rank of this process, 0..count - 1.
        count: number of processes.
        state: accelerate's `PartialState`, None where there is one process only.
    """

    index: int = 0
    count: int = 1
    state: Any = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that joins and reports."""
        return self.index == 0

    @property
    def device(self) -> str | None:
        """The device that the launcher meant for this process, None where there is one process only."""
        return None if self.state is None else str(self.state.device)

    def is_assigned(self, chunk: int) -> bool:
        """Whether the chunk of that number is measured by this process."""
        return chunk % self.count == self.index

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.state is not None:
            self.state.wait_for_everyone()


ALL_OF_IT = ProcessShare()


@contextmanager
def join_processes() -> Iterator[ProcessShare]:
    """The share of this process; the group that the processes form is left at the end of the block.

    A launcher tells each process by `WORLD_SIZE` how many there are. Without one nothing is set up.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield ALL_OF_IT
        return
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=_LONGEST_WAIT)
    try:
        yield ProcessShare(state.process_index, state.num_processes, state)
    finally:
        state.destroy_process_group()
