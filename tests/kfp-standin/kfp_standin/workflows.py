"""Executes a run with kfp.local, by the pipeline runner's own run.py, and shows it as Argo would: one node for each driver,
each DAG and each container."""

import ctypes
import json
import os
import random
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import threading
import time
import uuid

from . import objects, spec

TICK = 0.05
STATES = {"": None, "Pending": "PENDING", "Running": "RUNNING", "Succeeded": "SUCCEEDED", "Failed": "FAILED", "Omitted": None}


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


class Node:
    """A node of the workflow."""

    def __init__(self, name, phase, started, parent=None):
        self.id, self.name, self.phase, self.started, self.ended = str(uuid.uuid4()), name, phase, started, None
        self.pod, self.children, self.history = f"{name}-{random.randrange(10**9, 10**10)}", [], []
        if parent:
            parent.children.append(self.pod)

    def end(self, phase, when):
        if self.phase in ("Running", "Pending"):
            self.phase, self.ended = phase, when


class Workflow:
    """One execution. `changed` counts its changes, for the agent that reports them."""

    def __init__(self, options, run_id, pipeline, arguments, root):
        self.options, self.run_id, self.pipeline, self.arguments, self.root = options, run_id, pipeline, arguments, root
        info = pipeline["pipelineInfo"]["name"]
        self.name = f"{info}-{''.join(random.choices(string.ascii_lowercase + string.digits, k=5))}"
        self.phase, self.created, self.finished, self.manifest = "", time.time(), None, False
        self.leaves = spec.leaves(pipeline)
        self.nodes, self.tasks, self.lock, self.changed = [], {}, threading.RLock(), 1
        self.process, self.stopped, self.gone = None, threading.Event(), False
        threading.Thread(target=self.live, daemon=True).start()

    def live(self):
        if self.stopped.wait(self.options.start_delay):
            return self.end("Failed")
        now = time.time()
        with self.lock:
            self.phase, self.manifest = "Running", True
            self.top = Node(self.name, "Running", now)
            driver = Node("root-driver", "Pending", now, self.top)
            self.nodes, self.changed = [self.top, driver], self.changed + 1
        if self.stopped.wait(TICK * 2):
            return self.end("Failed")
        with self.lock:
            driver.end("Succeeded", time.time())
            self.dag = Node("root", "Running", time.time())
            driver.children.append(self.dag.pod)
            self.nodes.append(self.dag)
            self.changed += 1
        folder = tempfile.mkdtemp(prefix="kfp-standin-")
        try:
            succeeded = self.execute(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return self.end("Succeeded" if succeeded else "Failed")

    def execute(self, folder):
        """Runs run.py and follows its events. True when it succeeded."""

        def at(name):
            return os.path.join(folder, name)

        for name in ("artifacts", "home", "logs", "tmp", "workspace"):
            os.makedirs(at(name))
        with open(at("spec.json"), "w", encoding="utf-8") as file:
            json.dump(self.pipeline, file)
        request = {name: at(path) for name, path in PATHS.items()}
        request |= {"run": self.run_id, "arguments": self.arguments, "traceparent": None}
        request["supervisor"] = os.path.join(self.options.runner, "task.py")
        with open(at("request.json"), "w", encoding="utf-8") as file:
            json.dump(request, file)
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": at("home"), "TMPDIR": at("tmp")}
        command = [sys.executable, "-I", "-B", "-u", os.path.join(self.options.runner, "run.py"), at("request.json")]
        with open(at("log"), "wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, cwd=at("home"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=die_with_parent,
            )
        offset = 0
        while True:
            ended = self.process.poll() is not None
            if self.stopped.wait(0 if ended else TICK):
                self.kill()
                return False
            offset = self.follow(at("events.jsonl"), offset, folder)
            if ended:
                break
        try:
            with open(at("result.json"), encoding="utf-8") as file:
                return json.load(file)["state"] == "succeeded"
        except OSError:
            with open(at("log"), encoding="utf-8", errors="replace") as file:
                print(f"{self.name}: no result: {file.read()[-2000:]}", file=sys.stderr, flush=True)
            return False

    def follow(self, path, offset, folder):
        try:
            with open(path, "rb") as file:
                file.seek(offset)
                new = file.read()
        except OSError:
            return offset
        whole = new.rfind(b"\n") + 1
        for line in new[:whole].splitlines():
            event = json.loads(line)
            if event["event"] == "start":
                self.begin(event["task"], event["time_ns"] / 1e9)
            elif event["event"] == "end":
                self.finish(event, folder)
        return offset + whole

    def begin(self, task, when):
        *groups, leaf = task.split(".")
        # run.py tells tasks of one name apart by a number.
        name = leaf if leaf in self.leaves else leaf.rsplit("-", 1)[0]
        with self.lock:
            parent = self.dag
            for group in groups[-1:]:
                loop, _, number = group.partition("-iteration-")
                for inner in [loop, *(["iteration-driver", f"iteration-iterations({number}:{number})"] if number else [])]:
                    node = Node(inner, "Succeeded", when, parent)
                    node.ended = when
                    self.nodes.append(node)
            driver = Node(f"{name}-driver", "Succeeded", when, parent)
            driver.ended = when
            node = Node(name, "Running", when, driver)
            inner = Node("executor", "Running", when, node)
            self.nodes += [driver, node, inner]
            self.tasks[task] = {"nodes": [node, inner], "name": name, "salt": str(uuid.uuid4()), "event": None, "uris": {}, "log": None}
            self.changed += 1

    def finish(self, event, folder):
        task = self.tasks[event["task"]]
        succeeded = event["state"] == "succeeded"
        task["event"] = event
        path = self.leaves.get(task["name"], (task["name"],))[0]
        prefix = f"{self.root}/{self.pipeline['pipelineInfo']['name']}/{self.run_id}/{path}/{task['salt']}"
        task["log"] = f"{prefix}/executor-logs"
        files = {"executor-logs": os.path.join(folder, "logs", f"{event['task']}.log")}
        inside = os.path.join(folder, "artifacts") + os.sep
        for output, path in event.get("artifacts", {}).items():
            # What a task has put elsewhere stays there.
            task["uris"][output] = f"{prefix}/{output}" if path.startswith(inside) else path
            files |= {output: path} if path.startswith(inside) else {}
        bucket, _, key = prefix.partition("://")[2].partition("/")
        for output, path in files.items():
            try:
                objects.put_tree(self.options.bucket, f"{key}/{output}", path)
            except OSError as error:
                print(f"{self.name}: {bucket}/{key}/{output}: {error}", file=sys.stderr, flush=True)
                succeeded = False
        with self.lock:
            for node in task["nodes"]:
                node.end("Succeeded" if succeeded else "Failed", time.time())
            self.changed += 1

    def end(self, phase):
        with self.lock:
            self.phase, self.finished = phase, time.time()
            for node in self.nodes:
                node.end(phase, self.finished)
            if phase == "Failed" and not self.tasks:
                # As after a termination before the first task.
                self.nodes.append(Node("root", "Omitted", None))
            self.changed += 1

    @staticmethod
    def now():
        return time.time()

    def stop(self):
        """Argo's shutdown."""
        self.stopped.set()

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, AttributeError):
            return
        self.process.wait()

    def again(self):
        """Argo's retry: everything from the start."""
        self.stopped.clear()
        with self.lock:
            self.phase, self.finished, self.nodes, self.tasks = "Running", None, [], {}
            self.changed += 1
        threading.Thread(target=self.live, daemon=True).start()


PATHS = {
    "spec": "spec.json",
    "events": "events.jsonl",
    "logs": "logs",
    "result": "result.json",
    "environment": "environment",
    "pipeline_root": "artifacts",
    "workspace": "workspace",
}
