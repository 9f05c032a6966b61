"""First container of a sandbox: takes the repository's archive from standard input, puts our own programs beside it and proves
that the pod has no network. Nothing of the pull request runs here."""

import hashlib
import json
import os
import socket
import sys
import time

FOLDER = "/kfops/given"
# How long a network plugin may take until its policy holds, and how long one that drops what it forbids is asked, seconds.
CLOSING, SILENCE = 60, 1
OPEN, BROKEN, DAMAGED = 11, 12, 13


def main() -> int:
    for path, text in json.loads(os.environ["KFOPS_FILES"]).items():
        path = os.path.join(FOLDER, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    if os.environ["KFOPS_NETWORK"] == "closed" and not closed():
        print("the pod reaches the network", flush=True)
        return OPEN
    head, digest = sys.stdin.buffer.read(8), hashlib.sha256()
    size = int.from_bytes(head, "big") if len(head) == 8 else 1
    with open(os.path.join(FOLDER, "source.tar.gz"), "wb") as file:
        while size > 0:
            piece = sys.stdin.buffer.read(min(size, 1 << 20))
            if not piece:
                print(f"{size} bytes did not come", flush=True)
                return BROKEN
            size -= len(piece)
            digest.update(piece)
            file.write(piece)
    if f"sha256:{digest.hexdigest()}" != os.environ["KFOPS_DIGEST"]:
        print("what came is not what was promised", flush=True)
        return DAMAGED
    return 0


def closed():
    """Whether the API server, which every pod is told of, stays out of reach."""
    place = (os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"]))
    end = time.monotonic() + CLOSING
    while time.monotonic() < end:
        try:
            socket.create_connection(place, timeout=SILENCE).close()
        except OSError:
            return True
        time.sleep(0.2)
    return False


sys.exit(main())
