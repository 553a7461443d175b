"""What may a process do that reads hostile bytes?  Compute, and talk through the socket it holds.

A process closes itself off, for good, before it is given a mail.  Whoever takes it over can open no
file, no socket and no other program, sees no other process and outlives nobody; what it holds is
one mail.  All of it is Linux: limits that cannot be raised again, and a filter of system calls
where we know their numbers (elsewhere ``close_off`` says that the filter is missing).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# linux/prctl.h, linux/seccomp.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_EPERM = 0x00050001

# linux/filter.h: load a word of the call's data; go on or skip one by comparing; end
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4

_CALLS = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57),
    "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216),
    "brk": (12, 214), "madvise": (28, 233), "futex": (202, 98), "sched_yield": (24, 124),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "gettimeofday": (96, 169), "getrandom": (318, 278),
    "getpid": (39, 172), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
"""The system calls that stay, with their numbers on x86-64 and in asm-generic/unistd.h."""

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "riscv64": (0xC00000F3, 1)}
"""For each machine its AUDIT_ARCH (linux/audit.h), and which of the numbers are its own."""

_libc = ctypes.CDLL(None, use_errno=True)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent, of this number, dies; be gone if it has."""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def leave_no_dump() -> None:
    """Keep memory out of core dumps, and out of the reach of others under the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def go_first() -> None:
    """Be the first to go where memory is short: before those who hold keys, store or queue."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def close_off(memory: int) -> bool:
    """Give up everything that opening a mail does not need; ``memory`` in octets.

    Return whether system calls are filtered, too.  Raises OSError when a limit cannot be lowered:
    without its limits nobody reads a mail.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _limit(resource.RLIMIT_DATA, memory)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, 0)  # those that are open stay, and no other can be opened
    return _filter_calls()


def _limit(which: int, most: int) -> None:
    """Lower a limit by prlimit(2): our unit file forbids setrlimit(2)."""
    _, hard = resource.prlimit(0, which)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.prlimit(0, which, (most, most))


def _filter_calls() -> bool:
    """Have every system call refused (EPERM) but those that ``_CALLS`` names."""
    known = _MACHINES.get(os.uname().machine)
    if known is None or sys.maxsize < 1 << 32:  # a 32-bit program has other numbers
        return False
    architecture, column = known
    program = _program(architecture, [numbers[column] for numbers in _CALLS.values()])
    octets = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(octets))
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header))


def _program(architecture: int, allowed: Iterable[int]) -> bytes:
    """Return the filter as the kernel's instructions of eight octets each."""
    code = [
        _step(_LOAD, _AT_ARCHITECTURE),
        _step(_IF_EQUAL, architecture, then=1),
        _step(_RETURN, _RET_EPERM),
        _step(_LOAD, _AT_NUMBER),
    ]
    for number in allowed:
        code += [_step(_IF_EQUAL, number, otherwise=1), _step(_RETURN, _RET_ALLOW)]
    return b"".join([*code, _step(_RETURN, _RET_EPERM)])


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("HBBI", code, then, otherwise, value)


def _prctl(option: int, first: int, second: object = 0) -> bool:
    """Call prctl(2) and return whether it was done."""
    long = ctypes.c_ulong
    last = second if isinstance(second, ctypes.Array) else long(0)
    return bool(_libc.prctl(option, long(first), last, long(0), long(0)) == 0)
