"""`python -m hf_handdiff` is `handdiff`: for launchers that start a module, such as torchrun."""

import sys

from hf_handdiff.cli.main import main

sys.exit(main())
