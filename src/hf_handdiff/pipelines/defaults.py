"""Names and defaults that the pipelines and the parsers of commands share; light, so that `--help` stays quick."""

HANDEDNESS = ("left", "right")
AGGREGATIONS = ("mean", "median", "medoid", "aligned")
"""How hypotheses become one answer, see `pipelines.aggregation.aggregate`; the first is the default."""
DEFAULT_AGGREGATION = AGGREGATIONS[0]
NUM_HYPOTHESES = 20
"""Hands that are drawn from the distribution."""
