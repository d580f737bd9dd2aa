"""Loads a filter with a listener in one thread, and answers its calls in another: a program of its own.

Reads ``{"filter": hex, "flags": number}``, lets a thread call getppid(2) under the filter, answers 4711 in
its stead and prints ``{"notified": number of the call, "result": what the thread got}``.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import queue
import struct
import sys
import threading

SYS_SECCOMP = 317
SYS_GETPPID = 110
PR_SET_NO_NEW_PRIVS = 38
NOTIF_RECV = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV, of 80 bytes
NOTIF_SEND = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND, of 24 bytes
TSYNC = 1

libc = ctypes.CDLL(None, use_errno=True)


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def call_under_filter(
    order: dict[str, str], flags: int, listeners: queue.Queue[int], results: list[int]
) -> None:
    """Load the filter into this thread, hand over the listener, and make the call."""
    filter_bytes = bytes.fromhex(order["filter"])
    program = Program(len(filter_bytes) // 8, filter_bytes)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    listener = libc.syscall(SYS_SECCOMP, 1, flags, ctypes.byref(program))
    listeners.put(listener if listener >= 0 else -ctypes.get_errno())
    if listener >= 0:
        results.append(libc.syscall(SYS_GETPPID))


def main() -> None:
    """Be the listener."""
    order = json.load(sys.stdin)
    listeners: queue.Queue[int] = queue.Queue()
    results: list[int] = []
    arguments = (order, order["flags"], listeners, results)
    thread = threading.Thread(target=call_under_filter, args=arguments, daemon=True)
    thread.start()
    listener = listeners.get(timeout=60)
    if listener < 0:
        sys.exit(f"seccomp: errno {-listener}")
    notification = bytearray(80)
    fcntl.ioctl(listener, NOTIF_RECV, notification)
    identity, _, _, number = struct.unpack_from("<QIIi", notification)
    fcntl.ioctl(listener, NOTIF_SEND, struct.pack("<QqiI", identity, 4711, 0, 0))
    thread.join(timeout=60)
    print(json.dumps({"notified": number, "result": results[0]}))


main()
