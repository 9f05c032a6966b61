"""Second container of a sandbox: unpacks the repository's files and becomes the compiler. From here on everything in this
container may be under the pull request's control; what it writes to /kfops/out is data for the third one."""

import json
import os
import resource
import shutil
import sys
import tarfile

GIVEN, ROOT = "/kfops/given", "/kfops/source"
ENTRIES, BYTES = 100_000, 1 << 30


class Refused(Exception):
    """The kind of the problem, and what it is."""


def main() -> int:
    with open(f"{GIVEN}/request.json", encoding="utf-8") as file:
        request = json.load(file)
    try:
        unpack()
        path = os.path.realpath(os.path.join(ROOT, request["path"]))
        if not path.startswith(ROOT + os.sep) or not os.path.isfile(path):
            raise Refused("missing", "")
        if request["yaml"]:
            shutil.copyfile(path, request["output"])
            print(f"{request['path']}: compiled YAML, {os.path.getsize(path)} bytes", flush=True)
            return 0
    except Refused as error:
        kind, message = error.args
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        kind, message = "source", str(error) or type(error).__name__
    else:
        for limit, value in request["limits"].items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{limit}"), (value, value))
        os.chdir(ROOT)
        arguments = [sys.executable, "-I", "-B", "-u", f"{GIVEN}/compile.py", f"{GIVEN}/request.json"]
        os.execv(sys.executable, arguments)
    with open(request["error"], "w", encoding="utf-8") as file:
        json.dump({"kind": kind, "message": message[:900]}, file, ensure_ascii=False)
    return 1


def unpack():
    """All files, without the archive's top folder. Links are kept as long as they stay inside."""
    left, count = BYTES, 0
    with tarfile.open(f"{GIVEN}/source.tar.gz", "r:gz") as archive:
        for member in archive:
            parts = [part for part in member.name.split("/") if part not in ("", ".")][1:]
            if member.name.startswith("/") or ".." in parts:
                raise Refused("source", f"{member.name} leads out of the archive")
            if not parts:
                continue
            target = os.path.join(ROOT, *parts)
            count, left = count + 1, left - member.size
            if count > ENTRIES or left < 0:
                raise Refused("source", "the archive holds too much")
            folder = target if member.isdir() else os.path.dirname(target)
            inside(folder, member)
            os.makedirs(folder, exist_ok=True)
            if member.issym():
                inside(os.path.join(folder, member.linkname), member)
                os.symlink(member.linkname, target)
            elif member.isreg():
                with archive.extractfile(member) as source, open(target, "xb") as file:
                    shutil.copyfileobj(source, file)
                os.chmod(target, 0o755 if member.mode & 0o100 else 0o644)
            elif not member.isdir():
                raise Refused("source", f"{member.name} is neither file, folder nor link")


def inside(path, member):
    real = os.path.realpath(path)
    if real != ROOT and not real.startswith(ROOT + os.sep):
        raise Refused("source", f"{member.name} leads out of the archive")


sys.exit(main())
