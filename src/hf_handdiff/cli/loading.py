"""A checkpoint as the pipeline of a command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hf_handdiff.errors import InputError, first_line

if TYPE_CHECKING:
    from hf_handdiff.pipelines import CascadedHandPipeline


class CheckpointError(InputError):
    """The pipeline of a command cannot be loaded, so that nothing can be done."""


def load_pipeline(
    checkpoint: str | None = None, device: str | None = None, hand_model: str | None = None, needs_hand: bool = True
) -> CascadedHandPipeline:
    """Load the cascade without progress bars, for a command.

    Args:
        checkpoint: folder or Hub repository; None is the checkpoint that comes with the package.
        device: where the networks run; None: a GPU if there is one.
        hand_model: file of the right hand that the checkpoint's meshes are of, if that is not the open hand.
        needs_hand: whether the command draws, writes or fits meshes, for which it needs the triangles of a user's hand.

    Raises:
        CheckpointError: one line that says what is wrong with the checkpoint, the device or the hand.
    """
    import diffusers
    import transformers

    from hf_handdiff import DEFAULT_CHECKPOINT, CascadedHandPipeline
    from hf_handdiff.pipelines import doubts

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger(doubts.__name__).setLevel(logging.ERROR)  # told with each file, in the records and the report
    try:
        pipeline = CascadedHandPipeline.from_pretrained(DEFAULT_CHECKPOINT if checkpoint is None else str(checkpoint))
    except (OSError, ValueError) as error:
        sentence = first_line(error).removeprefix("checkpoint: ")
        raise CheckpointError(f"--checkpoint: {sentence}") from error
    device = default_device(device)
    try:
        pipeline.to(device)
    except (RuntimeError, AssertionError, ValueError) as error:  # torch asserts that it was built with CUDA
        raise CheckpointError(f"--device: '{device}' cannot be used ({first_line(error)})") from error
    pipeline.set_progress_bar_config(disable=True)
    if hand_model is not None:
        try:
            pipeline.use_hand(hand_model)
        except InputError as error:
            raise CheckpointError(f"--hand: {str(error).removeprefix('hand: ')}") from error
    if needs_hand and pipeline.mesh_faces is None:
        raise CheckpointError(
            "--hand: expected the file of the hand that the checkpoint's meshes are of, such as MANO_RIGHT.pkl; the "
            "checkpoint does not hold its triangles"
        )
    return pipeline


def default_device(device: str | None = None) -> str:
    """The device, or a GPU if there is one."""
    import torch

    return device or ("cuda" if torch.cuda.is_available() else "cpu")
