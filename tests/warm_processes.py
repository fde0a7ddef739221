"""Processes of their own that need not import torch again: forks of one that has imported it.

Imported before the fork is only what asks nothing of the environment: no library of Hugging Face, nothing of ours. So
a process here is like a fresh one, with its own environment, arguments and exit, but starts in a fraction of the time.
Each way into the package is tested once by a really fresh process; the other tests take these.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class WarmProcess:
    """A running one, used like `subprocess.Popen`; stdout and stderr are files."""

    server: "WarmProcesses"
    pid: int
    stdout: Path
    stderr: Path
    returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, None while it runs."""
        if self.returncode is None:
            self.returncode = self.server.ask({"poll": self.pid})
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        """The exit status; after `timeout` seconds it is killed."""
        if self.returncode is None:
            timer = threading.Timer(timeout, os.kill, (self.pid, signal.SIGKILL))
            timer.start()
            self.returncode = self.server.ask({"wait": self.pid})
            timer.cancel()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it if it still runs."""
        self.send_signal(signal.SIGKILL)

    def completed(self) -> subprocess.CompletedProcess:
        """What it said, once it has ended."""
        status = self.wait()
        return subprocess.CompletedProcess([], status, self.stdout.read_text(), self.stderr.read_text())


class WarmProcesses:
    """Starts them; the process that is forked starts with the first."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._server: subprocess.Popen | None = None
        self._count = 0

    def start(self, *command, env: dict[str, str] | None = None) -> WarmProcess:
        """Start `python COMMAND`: the path of a script or `-m`, a module, and arguments."""
        self._count += 1
        stdout, stderr = (self.folder / f"{self._count}.{name}" for name in ("out", "err"))
        request = {"command": list(map(str, command)), "env": dict(os.environ if env is None else env)}
        pid = self.ask({**request, "cwd": os.getcwd(), "stdout": str(stdout), "stderr": str(stderr)})
        return WarmProcess(self, pid, stdout, stderr)

    def run(self, *command, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """Run one to its end."""
        return self.start(*command, env=env).completed()

    def run_group(self, count: int, *command) -> list[subprocess.CompletedProcess]:
        """Run `count` on the CPU as torchrun does: they know each other by its variables, one that fails ends all."""
        port = str(free_port())
        group = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
        group |= {"MASTER_PORT": port, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        started = [
            self.start(*command, env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(count)
        ]
        while any(process.poll() is None for process in started):
            if any(process.poll() for process in started):
                for process in started:
                    process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        return [process.completed() for process in started]

    def ask(self, request: dict) -> int | None:
        """Send a request to the process that is forked; its answer."""
        if self._server is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._server = subprocess.Popen([sys.executable, __file__], text=True, **pipes)
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def stop(self) -> None:
        """End the process that is forked."""
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()
            self._server.stdout.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _serve() -> dict:
    """Answer requests; returns in a forked process alone, with what it is to run."""
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "command" in request:
            answer = os.fork()
            if answer == 0:
                return request
        else:
            pid = request.get("poll") or request["wait"]
            ended, status = os.waitpid(pid, os.WNOHANG if "poll" in request else 0)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        print(json.dumps(answer), flush=True)
    sys.exit()


def _become(request: dict) -> None:
    """Run the command of a request in this process, as `python COMMAND` would."""
    import runpy

    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    command = request["command"]
    if command[0] == "-m":
        sys.path[0], sys.argv = os.getcwd(), command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = str(Path(command[0]).parent), command
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import roma  # noqa: F401
    import scipy.optimize  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch
    import torch._dynamo  # noqa: F401
    import torch.distributed.fsdp
    import torch.distributed.tensor  # noqa: F401

    _become(_serve())
