"""Becomes another program that dies with the process that started this one. Run as a script; standard library only.

Arguments: pid of the starter, signal at its death, uid and gid to become (-1: stay), reading end of the starter's
lifeline (-1: none), program and its arguments.
"""

import ctypes
import os
import select
import sys

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


def main() -> None:
    """Drop privileges, arrange the death, become the program."""
    starter, number, uid, gid, lifeline = map(int, sys.argv[1:6])
    program = sys.argv[6:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)  # after setuid, which would clear it
    if os.getppid() != starter:
        sys.exit(1)  # it died before we asked to be told
    if lifeline >= 0:
        child = os.getpid()
        if os.fork() == 0:
            _watch(child, lifeline, number)
        os.set_inheritable(lifeline, False)
    try:
        os.execv(program[0], program)  # noqa: S606 - becoming the program is the point
    except OSError as error:
        print(f"{program[0]} cannot be executed: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def _watch(child: int, lifeline: int, number: int) -> None:
    """Signal the child when the starter's pipe ends; end when the child does, whose orphan we are then."""
    while os.getppid() == child:
        if select.select([lifeline], [], [], _POLL_S)[0]:
            if os.getppid() == child:
                os.kill(child, number)
            break
    os._exit(0)


if __name__ == "__main__":
    main()
