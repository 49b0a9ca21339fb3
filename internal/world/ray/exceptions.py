"""Exceptions of the stand-in ray, named as python/ray/exceptions.py of Ray names them."""


class RayError(Exception):
    """Base of all."""


class RaySystemError(RayError):
    """The cluster did not answer as it should."""


class AuthenticationError(RayError):
    """The token is missing or wrong (Ray 2.52 and later)."""


class WorkerCrashedError(RayError):
    """The process that ran a task ended."""


class NodeDiedError(RayError):
    """The node that ran a task is gone."""


class GetTimeoutError(RayError, TimeoutError):
    """ray.get took longer than its timeout."""


class RayTaskError(RayError):
    """A task raised; the text is its traceback, cause what it raised."""

    def __init__(self, text, cause=None):
        super().__init__(text)
        self.cause = cause
