"""Loads from the cache of another client, while there is no hub.

python cache_client.py PHOTO.npy ANSWERS
"""

import json
import sys
from pathlib import Path

import numpy as np
from answers import answer, denoised, report

import hf_handdiff

photo, answers, errors = np.load(sys.argv[1]), Path(sys.argv[2]), {}
np.savez(answers / "whole.npz", **answer(hf_handdiff.CascadedHandPipeline.from_pretrained("ann/hand"), photo))
component = hf_handdiff.JointDenoiser.from_pretrained("ann/hand", subfolder="joint_denoiser")
np.savez(answers / "one_component.npz", **denoised(component))
for name, load in {
    "pipeline": lambda: hf_handdiff.CascadedHandPipeline.from_pretrained("ann/never"),
    "push": lambda: component.push_to_hub("ann/hand"),
}.items():
    try:
        load()
    except Exception as error:
        errors[name] = report(error)
print(json.dumps(errors))
