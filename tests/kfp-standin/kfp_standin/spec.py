"""KFP's intermediate representation as the API server reads it."""

import yaml

from .problems import Hang, grpc, upload


def parse(text, title):
    """(pipeline spec, platform spec or None). YAML that does not parse makes 2.17.0 spin for ever."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (yaml.YAMLError, UnicodeDecodeError, ValueError):
        raise Hang from None
    first = documents[0] if documents else None
    if not isinstance(first, dict) or "pipelineInfo" not in first or "root" not in first:
        raise upload(400, "unknown template format")
    name = (first.get("pipelineInfo") or {}).get("name")
    if not name:
        raise upload(400, title)
    return first, documents[1] if len(documents) > 1 else None


def inputs(spec):
    """The parameters of the pipeline."""
    return (spec["root"].get("inputDefinitions") or {}).get("parameters") or {}


WANTED = {
    "NUMBER_INTEGER": ("double or integer", "number", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool)),
    "NUMBER_DOUBLE": ("double or integer", "number", lambda v: isinstance(v, (int, float)) and not isinstance(v, bool)),
    "STRING": ("string", "string", lambda v: isinstance(v, str)),
    "BOOLEAN": ("bool", "bool", lambda v: isinstance(v, bool)),
    "LIST": ("list", "list", lambda v: isinstance(v, list)),
    "STRUCT": ("struct", "struct", lambda v: isinstance(v, dict)),
}


def check_parameters(spec, given):
    """Raises as CreateRun does."""
    before = "Failed to create a new run: Failed to generate the ExecutionSpec: invalid pipeline job inputs: Invalid input error: "
    known = inputs(spec)
    unknown = sorted(set(given) - set(known))
    if unknown:
        detail = f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}"
        raise grpc(3, before + detail, detail)
    for name, definition in known.items():
        if name not in given:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                detail = f"parameter {name} is not optional, yet has neither default value nor user provided value"
                raise grpc(3, before + detail, detail)
            continue
        wanted = WANTED.get(definition.get("parameterType"))
        if wanted and not wanted[2](given[name]):
            detail = f"input parameter {name} requires type {wanted[0]}, but the parameter value is not of {wanted[1]} value type"
            raise grpc(3, before + detail, detail)


def leaves(spec):
    """Task name -> (its name in paths, executor label) of every task that runs a container, however deep."""
    found = {}
    components = spec.get("components") or {}
    dags = [spec["root"].get("dag") or {}] + [c["dag"] for c in components.values() if "dag" in c]
    for dag in dags:
        for name, task in (dag.get("tasks") or {}).items():
            label = components.get(task["componentRef"]["name"], {}).get("executorLabel")
            if label:
                found[name] = ((task.get("taskInfo") or {}).get("name") or name, label)
    return found
