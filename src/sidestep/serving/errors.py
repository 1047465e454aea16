"""What goes wrong inside a server. No client can mend it, so none of it is a `SidestepError`; `sidestep.errors` draws
both trees.
"""


class ServerError(Exception):
    """Something went wrong inside the server."""


class UnavailableError(ServerError):
    """Answered with 503. retry_after: seconds after which the same request may be answered."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverloadedError(UnavailableError):
    """More is asked than can be answered in time."""


class ProcessEndedError(UnavailableError):
    """The model's process is gone: killed, or out of memory. Another one is started."""


class HistoriesUnavailableError(UnavailableError):
    """The store of histories does not answer. The message says where it lies, which is for the log alone."""


class FailedError(ServerError):
    """A bug of ours in the model's process, whose traceback is in the log."""


class StoppedError(ServerError):
    """A request's body is longer than the server takes, or comes too slowly; nothing more of it is read."""
