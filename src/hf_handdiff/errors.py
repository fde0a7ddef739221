"""The error that every bad input gets: one sentence that names the argument and what was expected."""


class InputError(ValueError):
    """An argument of the caller cannot be used; the message is one line that names it.

    Being a `ValueError`, it is caught by callers who know nothing of this package.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))
