"""What the four models share."""

import torch
from transformers import PreTrainedModel


class HandModel(PreTrainedModel):
    """A PreTrainedModel whose reloaded weights give the same outputs to the bit."""

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load as PreTrainedModel does, then move every tensor into memory of its own.

        Safetensors maps the file: its tensors start wherever they lie in it, and matrix kernels sum in another order
        on memory that is not aligned. A copy is aligned like any fresh tensor.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True gives a pair
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.data = tensor.data.clone()
        return loaded
