"""What the models and their configurations share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from hf_handdiff.errors import InputError, StorageError, first_line
from hf_handdiff.hub.checkpoint_folders import saving
from hf_handdiff.hub.errors import hub_errors


class HandModelConfig(PreTrainedConfig):
    """A configuration that also reads files in which the model type or fields have former names.

    Former names of fields are in transformers' `attribute_map`; they are read, and never written.

    Attributes:
        former_model_type: of files that were saved before all types began with "handdiff_"; None: there are none.
        restricted_by: hands and data sets ("MANO", "FreiHAND", "HO3D v3") that the weights were learned from and whose
            terms govern them; cards tell these. None: none that is known.
    """

    former_model_type: ClassVar[str | None] = None
    restricted_by: list[str] | tuple[str, ...] | None = None

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        """As PreTrainedConfig does, with the present model type: another one makes it warn."""
        values, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if cls.former_model_type is not None and values.get("model_type") == cls.former_model_type:
            values["model_type"] = cls.model_type
        return values, unused

    def __post_init__(self, **kwargs):
        kwargs.pop("model_type", None)  # of a file; it would hide that of the class
        super().__post_init__(**kwargs)


class HandModel(PreTrainedModel):
    """A PreTrainedModel whose reloaded weights give the same outputs to the bit.

    Attributes:
        filter_memory_format: how the filters of convolutions lie in memory, new or loaded; `torch.channels_last` makes
            a CPU quicker at images.
    """

    filter_memory_format = torch.contiguous_format

    def post_init(self):
        """What PreTrainedModel does at the end of a constructor, and the filters as `filter_memory_format` says."""
        super().post_init()
        self.to(memory_format=self.filter_memory_format)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load as PreTrainedModel does, in float32 unless told otherwise, into memory of its own.

        Checkpoints may be stored in half precision to be small; laptops compute best in float32.

        Safetensors maps the file: its tensors start wherever they lie in it, and matrix kernels sum in another order
        on memory that is not aligned. A copy is aligned like any fresh tensor.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub repository "owner/name"; with `subfolder` a component
                of a pipeline's.
            *args: those of `PreTrainedModel.from_pretrained`.
            **kwargs: likewise (subfolder, revision, variant, token, dtype, …).

        Raises:
            StorageError: the folder or repository is not there, cannot be read, or holds no such model, or its weights
                hold NaN or infinity.
        """
        source = pretrained_model_name_or_path
        if kwargs.get("dtype") is None and kwargs.get("torch_dtype") is None:
            kwargs.pop("torch_dtype", None)
            kwargs["dtype"] = torch.float32
        try:
            with hub_errors("checkpoint", source):
                loaded = super().from_pretrained(source, *args, **kwargs)
        except InputError:
            raise
        except (OSError, RuntimeError, SafetensorError, StrictDataclassError) as error:
            where = "/".join(filter(None, (str(source), kwargs.get("subfolder"))))
            is_field = isinstance(error, StrictDataclassError)
            reason = " ".join(str(error).split()) if is_field else first_line(error)
            raise StorageError(f"checkpoint: {where} holds no {cls.__name__} that can be loaded: {reason}") from error
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # output_loading_info=True gives a pair
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                filters = tensor.ndim == 4
                tensor.data = tensor.data.clone(
                    memory_format=model.filter_memory_format if filters else torch.contiguous_format
                )
        _check_finite(model, "/".join(filter(None, (str(source), kwargs.get("subfolder")))))
        return loaded

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        state_dict: dict | None = None,
        push_to_hub: bool = False,
        max_shard_size: int | str = "50GB",
        variant: str | None = None,
        **kwargs,
    ):
        """Save as PreTrainedModel does, whole or not at all.

        Args:
            save_directory: the folder; what else is in it stays.
            is_main_process: see `PreTrainedModel.save_pretrained`, as for the others.
            state_dict: weights to save instead of the model's own.
            push_to_hub: also push them to the Hub, as `repo_id` in `kwargs` or by the folder's name.
            max_shard_size: weights beyond it are split into several files.
            variant: such as "fp16": part of the name of the weights.
            **kwargs: see `PreTrainedModel.save_pretrained`.

        Raises:
            StorageError: the disk is full, or the folder cannot be written; it is then as it was.
        """
        if push_to_hub:
            kwargs.setdefault("repo_id", os.path.basename(os.path.abspath(save_directory)))
        with (
            saving(save_directory) as folder,
            hub_errors("repo_id", kwargs.get("repo_id", ""), writing=True),
            self.what_is_saved(state_dict) as state_dict,
        ):
            return super().save_pretrained(
                folder,
                is_main_process=is_main_process,
                state_dict=state_dict,
                push_to_hub=push_to_hub,
                max_shard_size=max_shard_size,
                variant=variant,
                **kwargs,
            )

    @contextmanager
    def what_is_saved(self, state_dict: dict | None) -> Iterator[dict | None]:
        """While a model is being saved: it is as its files are to be, and the weights to save instead of its own.

        For models of which something stays out of every file.

        Args:
            state_dict: weights that the caller wants saved instead, or None.
        """
        yield state_dict

    def push_to_hub(self, repo_id: str, **kwargs) -> str:
        """Push weights and config to the Hub repository `repo_id` in one commit.

        Args:
            repo_id: "owner/name"; made if it is not there.
            **kwargs: those of `PreTrainedModel.push_to_hub` (private, token, revision, commit_message, …).

        Returns:
            The commit's address.

        Raises:
            StorageError: the token is refused, the Hub cannot be reached, or it refuses; nothing was pushed.
        """
        with hub_errors("repo_id", repo_id, writing=True):
            return super().push_to_hub(repo_id, **kwargs)


def _check_finite(model: nn.Module, where: str) -> None:
    """Refuse weights of a training that went astray: every answer would be NaN.

    Raises:
        StorageError: one of them is NaN or infinite.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.device.type != "meta" and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise StorageError(f"checkpoint: the weights in {where} are damaged: {name} holds NaN or infinity")


def he_initialization(module: nn.Module) -> None:
    """Initialise one layer of a convolutional network for training from scratch; other modules stay as they are.

    Convolutions by He et al. (fan in), linear layers to keep the variance, norms to the identity, biases to zero.
    """
    if isinstance(module, nn.Conv2d):
        init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        init.normal_(module.weight, std=module.in_features**-0.5)
        init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight, std=0.1)
    elif isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
        init.ones_(module.weight)
        init.zeros_(module.bias)
    elif isinstance(module, nn.PReLU):
        init.constant_(module.weight, 0.25)
