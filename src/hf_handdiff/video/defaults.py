"""Defaults of following hands through a video; light, so that `handdiff --help` stays quick."""

DETECT_EVERY = 15
"""Frames between two looks of the detector while every hand is being followed."""
LOOKAHEAD = 4
"""Frames after a frame that its answer looks at."""
