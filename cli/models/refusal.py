"""Why a source of a model was no use."""

import errno

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SourceFailed(Exception):
    """This source cannot give the model, the next one may; the message is a clause that says why."""


def sentence_of(error: OSError) -> str:
    """What a person is told of a failed read or write."""
    if error.errno in DISK_FULL:
        return f"there is not enough room on the disk ({error.strerror})"
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
