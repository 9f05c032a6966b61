"""Checks KFP IR (JSON on standard input) against its protobuf schema. Executes nothing of it. Prints one line for each
problem and exits with 3 when there is one."""

import json
import sys

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2


def main() -> int:
    ir = json.load(sys.stdin)
    problems = list(check(ir))
    for problem in problems[:20]:
        print(f"problem: {problem}")
    return 3 if problems else 0


def check(ir):
    spec = pipeline_spec_pb2.PipelineSpec()
    try:
        json_format.ParseDict(ir, spec)
    except json_format.ParseError as error:
        yield first_line(error)
        return
    # deploymentSpec is a free-form struct in the schema; what it must hold is a message of its own.
    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    try:
        json_format.ParseDict(ir.get("deploymentSpec", {}), deployment)
    except json_format.ParseError as error:
        yield f"deploymentSpec: {first_line(error)}"
        return
    if not spec.pipeline_info.name:
        yield "pipelineInfo.name is missing"
    if spec.root.WhichOneof("implementation") != "dag" or not spec.root.dag.tasks:
        yield "root.dag.tasks is empty: there is nothing to run"
    dags = [("root", spec.root)]
    for name, component in spec.components.items():
        kind = component.WhichOneof("implementation")
        if kind == "executor_label" and component.executor_label not in deployment.executors:
            yield f"components.{name}.executorLabel: no executor `{component.executor_label}` in deploymentSpec.executors"
        elif kind == "dag":
            dags.append((f"components.{name}", component))
    for where, component in dags:
        for name, task in component.dag.tasks.items():
            if task.component_ref.name not in spec.components:
                yield f"{where}.dag.tasks.{name}.componentRef: no component `{task.component_ref.name}`"
            for other in task.dependent_tasks:
                if other not in component.dag.tasks:
                    yield f"{where}.dag.tasks.{name}.dependentTasks: no task `{other}`"


def first_line(error):
    return str(error).splitlines()[0].rstrip(". ")


if __name__ == "__main__":
    sys.exit(main())
