"""What can go wrong for a user, in one sentence they can act on.

The message of a `UserError` is shown as it is, on the page and in the shell: it says what is wrong and what to do,
and holds no file name, since a name is the user's text and would have to be escaped wherever it is shown.
"""


class UserError(Exception):
    """Something the user can put right; its message is a sentence for them."""


class MediaError(UserError):
    """The file cannot be read as a video or an image within the limits."""


class RequestError(UserError):
    """An option is outside what is possible: an odd number of frames, a patch outside the grid, an empty span."""


class CheckpointError(UserError):
    """The checkpoint is unknown, cannot be reached, or does not fit the input."""


class ReferencesError(UserError):
    """A set of reference clips is missing, damaged or empty."""


class FingerprintMismatch(UserError):
    """Two vectors were made in different ways and must not be compared."""


class Stopped(UserError):
    """Work ended before it was done: cancelled, abandoned, or out of time."""
