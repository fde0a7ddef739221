"""Which samples the tests look at."""

import os

SEED = 1
NUM_SAMPLES = int(os.environ.get("HANDDIFF_NUM_CHECKED", 40))  # set it to 200 for the long check
