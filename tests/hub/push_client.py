"""Pushes a pipeline in several versions, a single model and a data set.

python push_client.py CHECKPOINT PHOTO.npy ANSWERS
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from answers import answer, denoised, report, rows
from corpus_rows import few_rows
from datasets import Dataset
from huggingface_hub import HfApi

from hf_handdiff import CascadedHandPipeline
from hf_handdiff.data.features import CORPUS_FEATURES

checkpoint, photo, answers = sys.argv[1], np.load(sys.argv[2]), Path(sys.argv[3])


def refused(call):
    try:
        call()
    except Exception as error:
        return report(error)
    return None


pipeline = CascadedHandPipeline.from_pretrained(checkpoint)
np.savez(answers / "first.npz", **answer(pipeline, photo))
np.savez(answers / "denoised.npz", **denoised(pipeline.joint_denoiser))
first = pipeline.push_to_hub("ann/hand")
HfApi().create_tag("ann/hand", tag="v1")

pipeline.register_to_config(joint_noise_scale=2.0)  # the next version answers otherwise
np.savez(answers / "second.npz", **answer(pipeline, photo))
pipeline.push_to_hub("hand", commit_message="wider")  # by the name alone: in one's own namespace
pipeline.push_to_hub("ann/secret", private=True)
pipeline.joint_denoiser.push_to_hub("ann/denoiser")

corpus = Dataset.from_dict(few_rows(), features=CORPUS_FEATURES)
corpus.push_to_hub("ann/corpus", split="train")
np.savez(answers / "rows.npz", **rows(corpus))

errors = {
    "wrong token": refused(lambda: pipeline.push_to_hub("ann/hand", token="hf_wrong")),
    "wrong token, one model": refused(lambda: pipeline.joint_denoiser.push_to_hub("ann/hand", token="hf_wrong")),
    "another's namespace": refused(lambda: pipeline.push_to_hub("bob/hand")),
}

half = CascadedHandPipeline.from_pretrained(checkpoint, dtype=torch.float16)
half.register_to_config(joint_noise_scale=2.0)
half.push_to_hub("ann/hand", variant="fp16")
np.savez(answers / "half.npz", **answer(half.to(torch.float32), photo))
print(json.dumps({"first": first, "errors": errors}))
