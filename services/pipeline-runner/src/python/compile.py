"""Imports a repository's pipeline and compiles it to KFP IR. Runs inside of the sandbox: whoever reads what it
writes must not believe it more than the repository's own code, which runs in this very process."""

import importlib.util
import json
import os
import sys
import traceback


class Refused(Exception):
    """There is nothing to compile; the message says why."""


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    root, path = request["root"], request["path"]
    os.chdir(root)
    sys.path[:0] = [request["library"], os.path.dirname(os.path.join(root, path)), root]
    try:
        component = find(load(root, path), path, request["function"])
        from kfp import compiler

        compiler.Compiler().compile(component, request["output"])
        return 0
    except Refused as error:
        kind, message = "refused", str(error)
    except MemoryError:
        kind, message = "memory", "MemoryError"
        print("MemoryError", file=sys.stderr)
    except BaseException as error:  # SystemExit too: the repository's code may call sys.exit
        kind, message = describe(error, root)
    with open(request["error"], "w", encoding="utf-8") as file:
        # In a cluster these are a container's last words, of which Kubernetes keeps 4096 bytes.
        json.dump({"kind": kind, "message": message[:900]}, file, ensure_ascii=False)
    return 1


def load(root, path):
    """The repository's file as a module."""
    import kfp
    from kfp import compiler, dsl

    # kfp 1.8 had what is kfp.dsl today under kfp.v2.
    kfp.v2 = sys.modules.setdefault("kfp.v2", kfp)
    sys.modules.setdefault("kfp.v2.dsl", dsl)
    sys.modules.setdefault("kfp.v2.compiler", compiler)
    name = os.path.splitext(os.path.basename(path))[0]
    if name in sys.modules or not name.isidentifier():
        name = "kfops_pipeline"
    spec = importlib.util.spec_from_file_location(name, os.path.join(root, path))
    if spec is None or spec.loader is None:
        raise Refused(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find(module, path, function):
    """The pipeline to compile."""
    from kfp.dsl import base_component, graph_component

    found = {name: value for name, value in vars(module).items() if isinstance(value, graph_component.GraphComponent)}
    if function:
        value = getattr(module, function, None)
        if isinstance(value, base_component.BaseComponent):
            return value
        names = ", ".join(sorted(found)) or "none"
        if value is None:
            raise Refused(f"{path} has no `{function}`; its pipelines: {names}")
        raise Refused(f"`{function}` in {path} is no pipeline: decorate it with @dsl.pipeline; its pipelines: {names}")
    # What the file imports from elsewhere counts only when it defines none itself.
    own = {n: v for n, v in found.items() if getattr(v.pipeline_func, "__module__", None) == module.__name__}
    candidates = own or found
    if not candidates:
        raise Refused(f"{path} defines no pipeline: decorate a function with @dsl.pipeline")
    if len({id(value) for value in candidates.values()}) > 1:
        raise Refused(f"{path} defines several pipelines: {', '.join(sorted(candidates))}; say which with `function`")
    return next(iter(candidates.values()))


def describe(error, root):
    """Prints the traceback with the repository's own paths and gives the kind of the error and its last line."""
    summary = traceback.TracebackException.from_exception(error)
    through_kfp = clean(summary, root)
    for line in summary.format():
        print(line, end="", file=sys.stderr)
    message = "".join(summary.format_exception_only()).strip().splitlines()
    last = message[-1] if message else type(error).__name__
    imports = isinstance(error, (ImportError, SyntaxError))
    return ("compile" if through_kfp and not imports else "import"), last


def clean(summary, root):
    """Drops our own and the import system's frames and shortens paths. True when the error came through kfp."""
    through_kfp = False
    frames = []
    for frame in summary.stack:
        if frame.filename == __file__ or frame.filename.startswith("<frozen"):
            continue
        through_kfp = through_kfp or "/site-packages/kfp/" in frame.filename
        frame.filename = short(frame.filename, root)
        frames.append(frame)
    summary.stack = traceback.StackSummary.from_list(frames)
    if getattr(summary, "filename", None):
        summary.filename = short(summary.filename, root)
    for other in (summary.__cause__, summary.__context__):
        if other is not None:
            through_kfp = clean(other, root) or through_kfp
    return through_kfp


def short(filename, root):
    if filename.startswith(root + os.sep):
        return filename[len(root) + 1 :]
    return filename.rpartition("site-packages/")[2]


if __name__ == "__main__":
    sys.exit(main())
