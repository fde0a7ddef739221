"""The page as gradio serves it, with one sentence for every failure instead of an error without text."""

from __future__ import annotations

import traceback
from typing import Any

import gradio as gr

from hf_handdiff.errors import InputError

UNUSABLE = (
    "The inputs of this call cannot be used: expected the values that the description of the API names, "
    "and photos that were uploaded here."
)
NO_ADDRESS = "photo: expected an uploaded file; addresses are not fetched here."
FAILED = "Something failed on this server, and not because of your photo; its log says what. Please try again."


class GuardedBlocks(gr.Blocks):
    """`gr.Blocks` whose events end with a result or with a `gr.Error` of one sentence."""

    async def preprocess_data(self, block_fn, inputs: list[Any], *args, **options):
        """As in `gr.Blocks`; addresses in place of uploads are refused before anything is fetched."""
        if _names_an_address(inputs):
            raise _told(NO_ADDRESS)
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **options)
        except gr.Error:
            raise
        except Exception as error:
            raise _told(UNUSABLE) from error

    async def process_api(self, *args, **options):
        """As in `gr.Blocks`."""
        try:
            return await super().process_api(*args, **options)
        except gr.Error:
            raise
        except InputError as error:
            raise _told(str(error)) from None
        except Exception as error:
            traceback.print_exc()
            raise _told(FAILED) from error


def _told(sentence: str) -> gr.Error:
    return gr.Error(sentence, print_exception=False)


def _names_an_address(value: Any) -> bool:
    """Whether a file anywhere in an input is to be fetched from elsewhere."""
    to_look_at = [value]
    while to_look_at:
        value = to_look_at.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and "://" in path:
                return True
            to_look_at += value.values()
        elif isinstance(value, list):
            to_look_at += value
    return False
