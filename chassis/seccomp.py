"""Which system calls this process may still make, by a seccomp filter, which needs no privileges.

What is refused is named; a call newer than this page counts as unknown to the kernel, so that libraries fall back to an
older one. Sources: seccomp(2), linux/filter.h, and the kernel's unistd.h of each architecture.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

_NONE = -1
"""The architecture has no such call."""
_REFUSED = {
    # Addresses.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "recvmmsg": (299, 243),
    # Other programs; a thread of our own comes by `clone`, see below.
    "fork": (57, _NONE),
    "vfork": (58, _NONE),
    "execve": (59, 221),
    "execveat": (322, 281),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "kcmp": (312, 272),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    # Memory that is shared with others, or counted nowhere.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # What Landlock leaves open: attributes of files that cannot be opened.
    "chmod": (90, _NONE),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, _NONE),
    "lchown": (94, _NONE),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "truncate": (76, 45),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, _NONE),
    "utimes": (235, _NONE),
    "futimesat": (261, _NONE),
    "utimensat": (280, 88),
    "mknod": (133, _NONE),
    "mknodat": (259, 33),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "inotify_init": (253, _NONE),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # The kernel's own affairs, and ways round this filter.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "personality": (135, 92),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "lookup_dcookie": (212, 18),
    "ioperm": (173, _NONE),
    "iopl": (172, _NONE),
    "modify_ldt": (154, _NONE),
}
"""Number of each refused call on x86_64 and aarch64; they fail with EPERM."""
_CLONE, _KILL, _TKILL, _TGKILL, _PRLIMIT = (56, 220), (62, 129), (200, 130), (234, 131), (302, 261)
_CLONE3 = 435
_NEWEST = 462
"""The last call that was looked at for this page."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the numbers above, and the AUDIT_ARCH that the kernel reports."""
_CLONE_THREAD = 0x10000

_LOAD, _EQUAL, _AT_LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_SECCOMP = {"x86_64": 317, "aarch64": 277}


def confine() -> None:
    """From now on every thread of this process is without network, other programs and other processes.

    It cannot be undone. Needs PR_SET_NO_NEW_PRIVS. Raises OSError: ENOSYS where the machine is of a kind that is not
    known here, EINVAL where the kernel has no filters.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURES or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"no filter for {sys.platform} on {machine}")
    steps = _filter(*_ARCHITECTURES[machine], own=os.getpid())
    code = ctypes.create_string_buffer(b"".join(steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(_SECCOMP[machine]), _SET_MODE_FILTER, _ALL_THREADS, program) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def _filter(column: int, architecture: int, own: int) -> list[bytes]:
    refuse, unknown = _step(_RETURN, _ERRNO | errno.EPERM), _step(_RETURN, _ERRNO | errno.ENOSYS)
    steps = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_EQUAL, architecture, then=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER_AT),
        *(_step(_AT_LEAST, _NEWEST + 1, otherwise=1), unknown),
        *(_step(_EQUAL, _CLONE3, otherwise=1), unknown),
    ]
    for numbers in _REFUSED.values():
        if numbers[column] != _NONE:
            steps += [_step(_EQUAL, numbers[column], otherwise=1), refuse]
    # A process is made by clone without this flag, a thread with it.
    steps += _where_argument(_CLONE[column], _step(_BITS, _CLONE_THREAD, then=1))
    for call in (_KILL, _TKILL, _TGKILL):
        steps += _where_argument(call[column], _step(_EQUAL, own, then=1))
    steps += _where_argument(_PRLIMIT[column], _step(_EQUAL, 0, then=1))  # 0 is the caller
    return [*steps, _step(_RETURN, _ALLOW)]


def _where_argument(number: int, allowed: bytes) -> list[bytes]:
    """The call is allowed only if the test of its first argument skips the refusal."""
    return [
        _step(_EQUAL, number, otherwise=4),
        _step(_LOAD, _FIRST_ARGUMENT_AT),
        allowed,
        _step(_RETURN, _ERRNO | errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """A struct sock_filter; `then` and `otherwise` are how many steps are skipped."""
    return struct.pack("@HBBI", code, then, otherwise, value)
