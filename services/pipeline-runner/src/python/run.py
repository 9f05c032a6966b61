"""Runs pinned KFP IR with kfp.local and reports each task as it begins and ends.

On one machine, tasks run as processes of the given Python environment (kfp.local's SubprocessRunner), not inside of
their images. What a task installs goes into an environment of this run, which sees the packages of the given one."""

import hashlib
import json
import math
import os
import re
import struct
import subprocess
import sys
import threading
import time
import venv
import warnings

from google.protobuf import json_format
from kfp import dsl, local
from kfp.local import executor_output_utils, importer_handler, logging_utils, pipeline_orchestrator, status
from kfp.local import subprocess_task_handler, task_dispatcher
from kfp.local.orchestrator import task_executor
from kfp.pipeline_spec import pipeline_spec_pb2

LOG_LIMIT = 16 * 1024 * 1024
VALUE_LIMIT = 4096


class Reporter:
    """Appends events as JSON lines."""

    def __init__(self, request):
        self.request = request
        self.lock = threading.Lock()
        self.names = set()
        self.current = threading.local()
        self.file = open(request["events"], "a", encoding="utf-8")
        # The resource name of the pipeline itself, to tell nested tasks from its own.
        self.root = None

    def event(self, kind, task, **fields):
        line = json.dumps({"event": kind, "task": task, "time_ns": time.time_ns(), **fields}, default=str)
        with self.lock:
            self.file.write(line + "\n")
            self.file.flush()

    def name(self, task_name, resource_name):
        """Unique within the run and fit for a file's name: tasks of a loop are called `<iteration>.<task>`."""
        with self.lock:
            self.root = self.root or resource_name.split("/")[0]
            nested = resource_name[len(self.root) :].strip("/").replace("/", ".")
            name = re.sub(r"[^A-Za-z0-9._-]", "-", f"{nested}.{task_name}" if nested else task_name)[:120].lstrip(".")
            unique, number = name or "task", 2
            while unique in self.names:
                unique, number = f"{name}-{number}", number + 1
            self.names.add(unique)
            return unique

    def traceparent(self, task):
        """The context of the task's span, which Kfops derives from its parent and its key (kfops-core, TraceContext::child)."""
        parent = self.request["traceparent"]
        if not parent:
            return None
        version, trace, span, flags = parent.split("-")
        digest = hashlib.sha256()
        for field in (bytes.fromhex(trace), bytes.fromhex(span), f"tasks/{task}".encode()):
            digest.update(struct.pack(">Q", len(field)) + field)
        return f"{version}-{trace}-{digest.hexdigest()[:16]}-{flags}"


def plain(value):
    """A value that JSON can hold and a person can read; artifacts without their paths."""
    if isinstance(value, dsl.Artifact):
        return {"artifact": value.schema_title, "metadata": plain(dict(value.metadata))}
    if isinstance(value, dict):
        value = {str(k): plain(v) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        value = [plain(v) for v in value]
    elif isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = json.dumps(value, default=str)
    return value if len(text) <= VALUE_LIMIT else text[:VALUE_LIMIT] + "…"


def metrics_of(outputs):
    """The numbers in system.Metrics artifacts."""
    found = {}
    for artifact in outputs.values():
        if isinstance(artifact, dsl.Metrics):
            for name, value in artifact.metadata.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
                    found[str(name)[:200]] = float(value)
    return found


def hook(reporter):
    """Puts the reporter around kfp.local's own functions."""
    to_python = executor_output_utils.pb2_value_to_python
    executor_output_utils.pb2_value_to_python = lambda value: to_python(value) if value.WhichOneof("kind") else None
    execute, dispatch, importer = (
        task_executor.execute_single_task,
        task_dispatcher.run_single_task_implementation,
        importer_handler.run_importer,
    )

    def execute_single_task(**arguments):
        task = reporter.name(arguments["task_name"], arguments["pipeline_resource_name"])
        reporter.current.task, reporter.current.code = task, None
        label = arguments["components"][arguments["task_spec"].component_ref.name].executor_label
        executor = arguments["executors"].get(label)
        reporter.event("start", task, image=executor.container.image if executor else "")
        try:
            outputs, result = execute(**arguments)
        except BaseException as error:
            reporter.event("end", task, state="failed", error=f"{type(error).__name__}: {error}"[:2000])
            raise
        if result != status.Status.SUCCESS:
            code = reporter.current.code
            reporter.event("end", task, state="failed", error="" if code is None else f"exit code {code}")
            return outputs, result
        artifacts = {k: v.uri for k, v in outputs.items() if isinstance(v, dsl.Artifact)}
        values = {k: plain(v) for k, v in outputs.items()}
        reporter.event("end", task, state="succeeded", outputs=values, artifacts=artifacts, metrics=metrics_of(outputs))
        return outputs, result

    def with_inputs(function):
        def call(**arguments):
            without_unset(arguments)
            inputs = {k: plain(v) for k, v in arguments["arguments"].items()}
            reporter.event("inputs", reporter.current.task, inputs=inputs)
            return function(**arguments)

        return call

    def run_local_subprocess(full_command, env_vars=None):
        code = run_process(reporter, full_command, env_vars or {})
        reporter.current.code = code
        return code

    task_executor.execute_single_task = execute_single_task
    task_dispatcher.run_single_task_implementation = with_inputs(dispatch)
    importer_handler.run_importer = with_inputs(importer)
    subprocess_task_handler.run_local_subprocess = run_local_subprocess
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="kfp.local.subprocess_task_handler")
    print("tasks run as processes of this machine's Python environment, not inside of their images", flush=True)
    # Logs are read as text, not on a terminal.
    logging_utils.color_text = lambda text, color: text


def without_unset(arguments):
    """Leaves out optional parameters that have neither value nor default, as the cluster does; kfp.local fails on them."""
    unset = [name for name, value in arguments["arguments"].items() if value is None]
    if unset:
        component = type(arguments["component_spec"])()
        component.CopyFrom(arguments["component_spec"])
        for name in unset:
            component.input_definitions.parameters.pop(name, None)
        arguments["component_spec"] = component
        arguments["arguments"] = {k: v for k, v in arguments["arguments"].items() if v is not None}


def run_process(reporter, command, env_vars):
    """One task as a process, its output in a log of its own and in ours."""
    task = reporter.current.task
    env = {**os.environ, **env_vars, "KFOPS_RUN_ID": reporter.request["run"], "KFOPS_TASK_NAME": task}
    context = reporter.traceparent(task)
    if context:
        env["TRACEPARENT"] = context
    path = os.path.join(reporter.request["logs"], f"{task}.log")
    # Ends when the task and all that it has started have ended: so does its output.
    command = [sys.executable, "-I", "-S", reporter.request["supervisor"], *command]
    with open(path, "ab") as log, subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        written = log.tell()
        for line in iter(lambda: process.stdout.readline(65536), b""):
            written += len(line)
            if written > LOG_LIMIT:
                if written - len(line) <= LOG_LIMIT:
                    log.write(b"[the log is cut here]\n")
                    log.flush()
                continue
            log.write(line)
            log.flush()
            sys.stdout.buffer.write(f"[{task}] ".encode() + line)
            sys.stdout.flush()
        return process.wait()


def private_environment(folder):
    """A Python environment of this run: sees our packages, takes what tasks install."""
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    packages = os.path.join(folder, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    with open(os.path.join(packages, "kfops.pth"), "w", encoding="utf-8") as file:
        file.write("\n".join(ours) + "\n")
    binaries = [os.path.join(folder, "bin"), os.path.dirname(sys.executable)]
    os.environ["PATH"] = os.pathsep.join([*binaries, os.environ.get("PATH", os.defpath)])
    # kfp.local starts the tasks of a SubprocessRunner without venv with sys.executable.
    sys.executable = os.path.join(folder, "bin", "python")


def finish(path, state, error):
    """The result, whole or not at all."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump({"state": state, "error": error[:4000]}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    with open(request["spec"], encoding="utf-8") as file:
        spec = json_format.ParseDict(json.load(file), pipeline_spec_pb2.PipelineSpec())
    private_environment(request["environment"])
    hook(Reporter(request))
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=request["pipeline_root"],
        workspace_root=request["workspace"],
        raise_on_error=True,
    )
    try:
        pipeline_orchestrator.run_local_pipeline(pipeline_spec=spec, arguments=request["arguments"])
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        finish(request["result"], "failed", str(error))
        return 1
    finish(request["result"], "succeeded", "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
