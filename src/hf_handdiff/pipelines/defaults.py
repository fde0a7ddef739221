"""Names and defaults that the pipelines and the parsers of commands share; light, so that `--help` stays quick."""

HANDEDNESS = ("left", "right")
MEANS = ("mean", "median", "medoid", "aligned")
"""How hypotheses become one answer by themselves, see `pipelines.aggregation.aggregate`."""
AGGREGATIONS = ("fitted", *MEANS)
"""All ways to one answer; the first, a posed hand (`pipelines.fitted_answer`), is the default."""
DEFAULT_AGGREGATION = AGGREGATIONS[0]
NUM_HYPOTHESES = 20
"""Hands that are drawn from the distribution."""
HAND_LENGTH_RANGE_M = (0.03, 0.4)
"""Lengths of hands, from the wrist joint to the tip of the middle finger, that are believed."""
WRIST_DEPTH_RANGE_M = (0.05, 100.0)
"""Distances of wrists from the camera, along its axis, that are believed."""
