"""The errors that users see: one sentence that names the argument and what was expected."""


class InputError(ValueError):
    """An argument of the caller cannot be used; the message is one line that names it.

    Being a `ValueError`, it is caught by callers who know nothing of this package.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class StorageError(InputError, OSError):
    """Something could not be read from, or written to, the place that was named: a folder, a full disk, the Hub.

    Being an `OSError` too, it is caught by callers who expect what diffusers and transformers raise.
    """


class NotFoundError(StorageError, FileNotFoundError):
    """The repository, revision or file that was named is not there."""


def first_line(error: BaseException) -> str:
    """An error's message as one line; the name of its class where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
