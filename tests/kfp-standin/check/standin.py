"""Starts the stand-in for a test, and asks it."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import contract

HERE = os.path.dirname(os.path.abspath(__file__))
BOUNDARY = "kfops-boundary"
TOKENS = {
    "token": {"user": "system:serviceaccount:alice:default-editor", "audiences": ["pipelines.kubeflow.org"]},
    "other-token": {"user": "system:serviceaccount:alice:default-editor", "audiences": ["https://kubernetes.default.svc"]},
}
RIGHTS = {"alice@x": ["alice"], "bob@x": ["bob"], "system:serviceaccount:alice:default-editor": ["alice"]}
PIPELINE = """
components:
  comp-prepare: {executorLabel: exec-prepare, inputDefinitions: {parameters: {n: {parameterType: NUMBER_INTEGER}}}}
deploymentSpec: {executors: {exec-prepare: {container: {image: python, command: [python], args: [-c, pass]}}}}
pipelineInfo: {name: two-step}
root:
  dag: {tasks: {prepare: {componentRef: {name: comp-prepare}, inputs: {parameters: {n: {componentInputParameter: n}}}, taskInfo: {name: prepare}}}}
  inputDefinitions:
    parameters:
      n: {parameterType: NUMBER_INTEGER, defaultValue: 3.0, isOptional: true}
      name: {parameterType: STRING, defaultValue: x, isOptional: true}
schemaVersion: 2.1.0
"""


class Standin:
    """A process; ends with the `with`."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        # The schema of the next release is not published yet.
        self.next = "--next" in arguments
        command = [sys.executable, "-B", "-m", "kfp_standin", "--bucket", f"file://{self.folder.name}", *arguments]
        self.process = subprocess.Popen(command, cwd=os.path.dirname(HERE), stdout=subprocess.PIPE)
        shown = json.loads(self.process.stdout.readline())
        self.address, self.metadata = shown["address"], shown.get("metadata")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        self.folder.cleanup()

    def ask(self, method, path, query=None, body=None, headers=None, base="/apis/v2beta1", timeout=20):
        """(status, content type, text); successful answers are held against the schema."""
        url = f"http://{self.address}{base}{path}" + ("?" + urllib.parse.urlencode(query) if query else "")
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                text = answer.read().decode()
                wrong = contract.problems(method, path, json.loads(text)) if base != "/" else []
                if wrong and not self.next:
                    raise AssertionError(f"{method} {path}: {wrong}")
                return answer.status, answer.headers["content-type"], text
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers["content-type"], error.read().decode()

    def json(self, method, path, body=None, status=200, **rest):
        """The answer as JSON."""
        found = self.ask(method, path, body=json.dumps(body) if body is not None else None, **rest)
        if found[0] != status:
            raise AssertionError(f"{method} {path}: {found}")
        return json.loads(found[2])

    def upload(self, path, query, text=PIPELINE, field="uploadfile", headers=None, timeout=20):
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{field}"; filename="p.yaml"\r\n\r\n'
        body = f"{head}{text}\r\n--{BOUNDARY}--\r\n"
        kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        return self.ask("POST", path, query, body, {**(headers or {}), **kind}, timeout=timeout)

    def faults(self, **body):
        self.json("POST", "_standin/faults", body, base="/")

    def workflows(self):
        return self.json("GET", "_standin/workflows", base="/")["workflows"]

    def until(self, path, enough, patience=60):
        """Asks until the answer is enough."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            found = self.json("GET", path)
            if enough(found):
                return found
            time.sleep(0.02)
        raise AssertionError(f"never: {found}")
