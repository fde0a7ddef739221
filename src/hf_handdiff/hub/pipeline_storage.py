"""Pipelines to and from folders and the Hub: checked before anything is loaded, saved whole or not at all."""

import json
import os
import tempfile
from pathlib import Path

from diffusers import DiffusionPipeline

from hf_handdiff.errors import InputError, StorageError, first_line
from hf_handdiff.hub.checkpoint_folders import saving
from hf_handdiff.hub.checkpoints import HUB_OPTIONS, INDEX, check_folder, download_checkpoint, looks_like_a_folder
from hf_handdiff.hub.push import push_checkpoint

PIPELINE_FILE = '''"""What diffusers runs for `custom_pipeline`: the class itself lives in the package."""

from hf_handdiff import {name}  # noqa: F401
'''


def _forget_origin(index_file: Path) -> None:
    """Take out of an index where its pipeline was loaded from: diffusers keeps the path."""
    index = json.loads(index_file.read_text())
    index.pop("_name_or_path", None)
    index_file.write_text(json.dumps(index, indent=2) + "\n")


class StoredPipeline(DiffusionPipeline):
    """A DiffusionPipeline whose checkpoints say in one sentence what is wrong with them."""

    @classmethod
    def extract_init_dict(cls, config_dict, **kwargs):
        """Take what this pipeline needs out of a checkpoint: a cascade's holds more than a single stage does."""
        known = {key: value for key, value in config_dict.items() if key[0] == "_" or key in cls._get_init_keys(cls)}
        return super().extract_init_dict(known, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        """Load a folder that `save_pretrained` wrote, or a Hub repository "owner/name".

        Args:
            pretrained_model_name_or_path: the folder or the repository; a single stage also loads from a cascade's.
            **kwargs: those of `diffusers.DiffusionPipeline.from_pretrained` (torch_dtype, revision, variant, …).

        Raises:
            StorageError: an `OSError` and `ValueError` of one sentence: the folder or the repository is not there,
                files in it are missing, damaged or foreign, the token is refused, or the Hub cannot be reached and
                the cache does not hold the checkpoint.
        """
        source = pretrained_model_name_or_path
        own = set(cls._get_signature_keys(cls)[0]) - {"self", *kwargs}
        needed = tuple(sorted(own - set(cls._optional_components)))
        if os.path.isdir(source):
            folder = Path(source)
        elif looks_like_a_folder(source):
            raise StorageError(f"checkpoint: expected a folder or a Hub repository owner/name, but {source} is neither")
        else:
            folder = download_checkpoint(cls.download, str(source), needed, kwargs)
            kwargs = {name: value for name, value in kwargs.items() if name not in HUB_OPTIONS}
        check_folder(folder, needed, kwargs.get("variant"), source, optional=own - set(needed))
        try:
            pipeline = super().from_pretrained(str(folder), **kwargs)
        except StorageError:  # a model names itself
            raise
        except (OSError, RuntimeError) as error:
            raise StorageError(f"checkpoint: {source} cannot be loaded: {first_line(error)}") from error
        pipeline.register_to_config(_name_or_path=str(source))
        return pipeline

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        safe_serialization: bool = True,
        variant: str | None = None,
        max_shard_size: int | str | None = None,
        push_to_hub: bool = False,
        **kwargs,
    ) -> None:
        """Save the pipeline as a folder that `from_pretrained` loads, whole or not at all.

        `pipeline.py` goes with it: with it plain `DiffusionPipeline.from_pretrained` finds the class.

        Args:
            save_directory: the folder; what else is in it stays.
            safe_serialization: only True: weights are never pickled.
            variant: such as "fp16": part of the name of the weights, which may then lie beside others.
            max_shard_size: weights beyond it are split into several files.
            push_to_hub: push it too, as `repo_id` in `kwargs` or by the folder's name.
            **kwargs: of `push_to_hub`.

        Raises:
            InputError: `safe_serialization` is False.
            StorageError: the disk is full, or the folder cannot be written; it is then as it was.
        """
        if not safe_serialization:
            raise InputError("safe_serialization: expected True, weights are saved as safetensors alone")
        with saving(save_directory) as folder:
            super().save_pretrained(folder, variant=variant, max_shard_size=max_shard_size)
            _forget_origin(folder / INDEX)
            (folder / "pipeline.py").write_text(PIPELINE_FILE.format(name=type(self).__name__))
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", Path(os.path.abspath(save_directory)).name)
            push_checkpoint(Path(save_directory), repo_id, **kwargs)

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        create_pr: bool = False,
        variant: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Push the pipeline to the Hub in one commit, with its card where the repository has none.

        Args:
            repo_id: "owner/name", or "name" for your own namespace; made if it is not there.
            commit_message: None: "Upload" and the name of the class.
            private: whether a new repository is private.
            token: None: that of `hf auth login`.
            create_pr: open a pull request instead.
            variant: such as "fp16": part of the name of the weights, which may then lie beside others.
            revision: branch to push to, made if it is not there; None: main.

        Returns:
            The commit's address.

        Raises:
            StorageError: the token is refused, the Hub cannot be reached, or it refuses; nothing was pushed.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, variant=variant)
            return push_checkpoint(
                Path(folder),
                repo_id,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                private=private,
                token=token,
                create_pr=create_pr,
                revision=revision,
            )
