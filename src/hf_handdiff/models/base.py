"""What the models share."""

import torch
from transformers import PreTrainedModel


class HandModel(PreTrainedModel):
    """A PreTrainedModel whose reloaded weights give the same outputs to the bit."""

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """Load as PreTrainedModel does, in float32 unless told otherwise, into memory of its own.

        Checkpoints may be stored in half precision to be small; laptops compute best in float32.

        Safetensors maps the file: its tensors start wherever they lie in it, and matrix kernels sum in another order
        on memory that is not aligned. A copy is aligned like any fresh tensor.
        """
        if kwargs.get("dtype") is None and kwargs.get("torch_dtype") is None:
            kwargs.pop("torch_dtype", None)
            kwargs["dtype"] = torch.float32
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True gives a pair
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.data = tensor.data.clone()
        return loaded
