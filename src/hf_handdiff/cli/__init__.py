"""The command `handdiff`. Heavy modules load when a command runs, so that `--help` is quick."""

from hf_handdiff.cli.main import main

__all__ = ["main"]
