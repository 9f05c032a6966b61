"""Answers held against the API's published schema: the models of kfp-server-api, which are made from its swagger."""

import re

import kfp_server_api.models as models

# Answers of routes.
ROUTES = [
    ("GET", r"/healthz", "V2beta1GetHealthzResponse"),
    ("POST", r"/pipelines/upload", "V2beta1Pipeline"),
    ("POST", r"/pipelines/upload_version", "V2beta1PipelineVersion"),
    ("GET", r"/pipelines", "V2beta1ListPipelinesResponse"),
    ("GET", r"/pipelines/(names/)?[^/]+", "V2beta1Pipeline"),
    ("GET", r"/pipelines/[^/]+/versions", "V2beta1ListPipelineVersionsResponse"),
    ("GET", r"/pipelines/[^/]+/versions/[^/]+", "V2beta1PipelineVersion"),
    ("POST", r"/experiments", "V2beta1Experiment"),
    ("GET", r"/experiments", "V2beta1ListExperimentsResponse"),
    ("GET", r"/experiments/[^/]+", "V2beta1Experiment"),
    ("POST", r"/runs", "V2beta1Run"),
    ("GET", r"/runs", "V2beta1ListRunsResponse"),
    ("GET", r"/runs/[^/:]+", "V2beta1Run"),
]
PLAIN = {"str": str, "int": int, "float": (int, float), "bool": bool, "object": (dict, list, str, int, float)}
# What 2.17.0 was seen to answer besides.
MORE = {"V2beta1GetHealthzResponse": ["commit_sha", "tag_name"]}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def problems(method, path, answer):
    """What is wrong with a successful answer."""
    for verb, pattern, name in ROUTES:
        if verb == method and re.fullmatch(pattern, path):
            return list(check(name, answer, name))
    return [] if answer == {} else [f"{method} {path} answers {answer}, which no schema describes"]


def check(kind, value, where):
    inner = re.fullmatch(r"(list\[|dict\(str, )(.*)[\])]", kind)
    if inner and inner[1] == "list[":
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for position, item in enumerate(value):
            yield from check(inner[2], item, f"{where}[{position}]")
    elif inner:
        for name, item in value.items():
            yield from check(inner[2], item, f"{where}.{name}")
    elif kind == "datetime":
        if not (isinstance(value, str) and TIME.fullmatch(value)):
            yield f"{where} is no time: {value}"
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{where} is no {kind}: {value}"
    else:
        yield from check_model(getattr(models, kind), value, where)


def check_model(model, value, where):
    if not model.openapi_types:
        allowed = [getattr(model, name) for name in vars(model) if name.isupper()]
        if value not in allowed:
            yield f"{where} is none of {allowed}: {value}"
        return
    names = {name: attribute for attribute, name in model.attribute_map.items()}
    for name, item in value.items():
        if name in MORE.get(model.__name__, []):
            continue
        if name not in names:
            yield f"{where} has the unknown field {name}"
        else:
            yield from check(model.openapi_types[names[name]], item, f"{where}.{name}")
