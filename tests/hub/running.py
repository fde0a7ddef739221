"""A hub in a process of its own, and its clients, which know it by its address alone."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from repositories import Repository
from warm_processes import WarmProcesses

HERE = Path(__file__).parent
OWNER = "ann"
TOKEN = f"hf_{OWNER}_secret"


@dataclass
class RunningHub:
    """A hub in a process of its own."""

    root: Path
    process: subprocess.Popen
    endpoint: str
    warm: WarmProcesses

    def stop(self):
        if self.process.poll() is not None:
            return
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def repository(self, name, kind="models"):
        """What the hub keeps, looked at without its HTTP side."""
        return Repository(self.root / kind / f"{name}.git")

    def environment(self, home, token=TOKEN, offline=False) -> dict[str, str]:
        """Of a client; Hugging Face's libraries read it when they are imported."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": str(int(offline)),
            "HF_HOME": str(home),
        }
        return kept | own | ({"HF_TOKEN": token} if token else {})

    def client(self, script, home, *arguments, **environment) -> dict:
        """Run one of the client scripts of this folder to its end; what it prints last is JSON."""
        done = self.warm.run(HERE / script, *arguments, env=self.environment(home, **environment))
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    def handdiff(self, home, *arguments, fresh=False, **environment) -> subprocess.CompletedProcess:
        """Run the command `handdiff`, in a process that has torch or in a `fresh` one."""
        environment = self.environment(home, **environment)
        if not fresh:
            return self.warm.run("-m", "hf_handdiff", *arguments, env=environment)
        command = [sys.executable, "-m", "hf_handdiff", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def start_hub(root: Path, warm: WarmProcesses) -> RunningHub:
    root.mkdir()
    process = subprocess.Popen([sys.executable, str(HERE / "server.py"), str(root)], stdout=subprocess.PIPE, text=True)
    return RunningHub(root, process, process.stdout.readline().strip(), warm)
