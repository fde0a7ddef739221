"""Lets the hub look at cards: for each file that is named, "fine" or what it says."""

import json
import sys

from huggingface_hub import DatasetCard, ModelCard


def judge(path):
    kind = DatasetCard if "dataset" in path else ModelCard
    try:
        kind.load(path).validate()
    except ValueError as error:
        return str(error)
    return "fine"


print(json.dumps([judge(path) for path in sys.argv[1:]]))
