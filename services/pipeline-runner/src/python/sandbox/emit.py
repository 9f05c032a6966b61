"""Third container of a sandbox: reads what the pull request's code wrote, checks it against KFP's schema and prints it. What
is printed is what was checked. None of the pull request's code runs here; its files are not mounted."""

import gzip
import hashlib
import importlib.util
import json
import os
import resource
import secrets
import stat
import sys

OUTPUT = "/kfops/out/pipeline.yaml"
RESULT = "/dev/termination-log"
# Longest text that is read; longest lines; most that is printed: a node keeps 10 MiB of a container's log, with some bytes for each line.
BYTES, LINE, PRINTED = 8 << 20, 8000, 7 << 20


def main():
    with open("/kfops/given/request.json", encoding="utf-8") as file:
        most = json.load(file)["limits"]["AS"]
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        documents = [document for document in load() if document is not None]
        text = json.dumps(documents, allow_nan=False).encode()
    except MemoryError:
        return say({"refused": "the compiled pipeline is too large"})
    except RecursionError:
        return say({"refused": "the compiled pipeline is nested too deeply"})
    except Exception as error:
        return say({"refused": f"the compiled pipeline {line(error)}"})
    packed = gzip.compress(text, mtime=0).hex()
    if len(packed) > PRINTED or len(text) > BYTES:
        return say({"refused": "the compiled pipeline is too large"})
    # The code that was compiled cannot have known it, whatever it has printed before.
    mark = secrets.token_hex(16)
    for start in range(0, len(packed), LINE):
        print(mark, packed[start : start + LINE])
    sys.stdout.flush()
    found = problems(documents)
    return say({"mark": mark, "sha256": hashlib.sha256(text).hexdigest(), "problems": [p[:200] for p in found[:10]]})


def load():
    """The documents, from a file and nothing else."""
    import yaml

    try:
        handle = os.open(OUTPUT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ValueError("was not written: importing the file ended Python") from None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("is not a regular file")
        if found.st_size > BYTES:
            raise ValueError(f"is larger than {BYTES} bytes")
        text = file.read(BYTES).decode("utf-8", "replace")
    return list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def problems(documents):
    """What KFP's schema has against it."""
    if not documents or not isinstance(documents[0], dict):
        return []
    spec = importlib.util.spec_from_file_location("check_ir", "/kfops/given/check_ir.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.check(documents[0]))


def line(error):
    """An error in one line."""
    import yaml

    if isinstance(error, yaml.YAMLError):
        return "is not YAML: " + " ".join(str(error).split())[:300]
    return " ".join(str(error).split())[:300] or type(error).__name__


def say(result):
    """As the container's last words, of which Kubernetes keeps 4096 bytes."""
    while len(json.dumps(result)) > 4000 and result.get("problems"):
        result["problems"].pop()
    with open(RESULT, "w", encoding="utf-8") as file:
        json.dump(result, file)
    return 0


sys.exit(main())
