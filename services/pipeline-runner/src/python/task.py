"""Runs one task, and ends with it whatever it has left behind.

Orphans of the task become children of this process (PR_SET_CHILD_SUBREAPER), wherever they hide; when the task has
ended they are killed. A daemon would hold the task's output, and with it the run, until the run's time limit."""

import ctypes
import os
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36


def children():
    """Process ids of this process' children that still run."""
    mine = str(os.getpid()).encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name before may hold spaces and brackets.
                state, parent = file.read().rsplit(b")", 1)[1].split()[:2]
        except (OSError, IndexError, ValueError):
            continue
        if parent == mine and state != b"Z":
            yield int(name)


def end_the_rest():
    """Those that a killed one leaves become ours in turn."""
    killed = set()
    while True:
        for pid in children():
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except ProcessLookupError:
                pass
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return len(killed)


def main():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        print("kfops: what the task leaves behind cannot be ended", flush=True)
    try:
        task = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
    ended, status = os.waitpid(-1, 0)
    while ended != task:
        ended, status = os.waitpid(-1, 0)
    left = end_the_rest()
    if left:
        print(f"kfops: ended {left} process(es) that the task had left behind", flush=True)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        # As the task ended, so do we.
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


main()
