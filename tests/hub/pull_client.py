"""Loads what push_client.py pushed, in a process that never saw the folder.

python pull_client.py PHOTO.npy ANSWERS
"""

import json
import sys
from pathlib import Path

import numpy as np
from answers import answer, denoised, report, rows
from datasets import load_dataset
from diffusers import DiffusionPipeline
from transformers import AutoConfig, AutoModel

import hf_handdiff

photo, answers = np.load(sys.argv[1]), Path(sys.argv[2])
CHECKS, errors = {}, {}


def check(function):
    CHECKS[function.__name__] = function
    return function


@check
def plain_diffusers():  # the first: nothing of hf_handdiff but its top is imported yet
    loaded = DiffusionPipeline.from_pretrained("ann/hand", custom_pipeline="ann/hand", trust_remote_code=True)
    return answer(loaded, photo)


@check
def whole():
    return answer(hf_handdiff.CascadedHandPipeline.from_pretrained("ann/hand"), photo)


@check
def revision():
    return answer(hf_handdiff.CascadedHandPipeline.from_pretrained("ann/hand", revision="v1"), photo)


@check
def variant():
    return answer(hf_handdiff.CascadedHandPipeline.from_pretrained("ann/hand", variant="fp16"), photo)


@check
def private():
    return answer(hf_handdiff.CascadedHandPipeline.from_pretrained("ann/secret"), photo)


@check
def stage_1_of_the_cascade():
    return {"joints": answer(hf_handdiff.JointDiffusionPipeline.from_pretrained("ann/hand"), photo)["joints"]}


@check
def one_component():
    return denoised(hf_handdiff.JointDenoiser.from_pretrained("ann/hand", subfolder="joint_denoiser"))


@check
def auto_model():
    assert type(AutoConfig.from_pretrained("ann/denoiser")).__name__ == "JointDenoiserConfig"
    return denoised(AutoModel.from_pretrained("ann/hand", subfolder="joint_denoiser"))


@check
def one_model():
    return denoised(hf_handdiff.JointDenoiser.from_pretrained("ann/denoiser"))


@check
def datasets_streaming():
    return rows(load_dataset("ann/corpus", split="train", streaming=True))


@check
def corpus_streaming():
    from hf_handdiff.data.corpus import load_corpus

    return rows(load_corpus("ann/corpus", "train", streaming=True))


def refuse(name, load):
    try:
        load()
    except Exception as error:
        errors[name] = report(error)


def _load_corpus(name, **options):
    from hf_handdiff.data.corpus import load_corpus

    return load_corpus(name, "train", **options)


for name, function in CHECKS.items():
    try:
        np.savez(answers / f"{name}.npz", **function())
    except Exception as error:
        errors[name] = report(error)

pipeline, model = hf_handdiff.CascadedHandPipeline, hf_handdiff.JointDenoiser
fresh = {"cache_dir": str(answers / "cache")}
refuse("wrong token", lambda: pipeline.from_pretrained("ann/hand", token="hf_wrong", **fresh))
refuse("wrong token, one model", lambda: model.from_pretrained("ann/denoiser", token="hf_wrong", **fresh))
refuse("no repository", lambda: pipeline.from_pretrained("ann/nothing"))
refuse("no repository, one model", lambda: model.from_pretrained("ann/nothing"))
refuse("no repository, corpus", lambda: _load_corpus("ann/nothing"))
refuse("no revision", lambda: pipeline.from_pretrained("ann/hand", revision="v9"))
refuse("no variant", lambda: pipeline.from_pretrained("ann/secret", variant="fp16"))
refuse("no index", lambda: pipeline.from_pretrained("ann/denoiser"))
refuse("no weights", lambda: pipeline.from_pretrained("ann/weightless"))
refuse("no weights, one model", lambda: model.from_pretrained("ann/weightless", subfolder="joint_denoiser"))
refuse("foreign", lambda: pipeline.from_pretrained("ann/stable"))
print(json.dumps(errors))
