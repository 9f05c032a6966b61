"""Schemas for kubeconform, strict ones: a field that is in no schema is refused, where the API server would drop it in silence.

schemas.py FOLDER SWAGGER CRD-FILE...: from Kubernetes' own OpenAPI (version 2) and from custom resource definitions. One file per
kind and version: GROUP_VERSION_KIND.json, the core's group being its version (v1), as kubeconform has it, the kind in small letters.
"""
import json
import pathlib
import sys

import yaml

SCALARS = {"io.k8s.apimachinery.pkg.api.resource.Quantity", "io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def strict(schema):
    """The schema without what kubeconform does not know, and closed: objects have only the properties that they name."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key not in ("nullable", "default", "description")}
    if "properties" in kept:
        kept["properties"] = {name: strict(value) for name, value in kept["properties"].items()}
        if "additionalProperties" not in kept and not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept["additionalProperties"] = False
    for key in "items", "additionalProperties":
        if isinstance(kept.get(key), dict):
            kept[key] = strict(kept[key])
    # An embedded object may be anything that has these.
    if schema.get("x-kubernetes-embedded-resource"):
        kept["additionalProperties"] = True
    if schema.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    return kept


def references(schema):
    """Names of the definitions that a schema names."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix("#/definitions/")
        schema = schema.values()
    elif not isinstance(schema, list):
        return
    for value in schema:
        yield from references(value)


def closed(schema, definitions):
    """The schema with all definitions that it needs, and no others."""
    needed, todo = {}, list(references(schema))
    while todo:
        name = todo.pop()
        if name not in needed:
            needed[name] = definitions[name]
            todo.extend(references(definitions[name]))
    return schema | {"definitions": needed}


def write(folder, group, version, kind, schema):
    (folder / f"{group or version}_{version}_{kind.lower()}.json").write_text(json.dumps(schema, separators=(",", ":")))


def main():
    folder, swagger = pathlib.Path(sys.argv[1]), json.loads(pathlib.Path(sys.argv[2]).read_text())
    definitions = {name: strict(value) for name, value in swagger["definitions"].items()}
    for name in SCALARS:
        definitions[name] = {"type": ["integer", "number", "string"]}
    for name, definition in swagger["definitions"].items():
        kinds = definition.get("x-kubernetes-group-version-kind", [])
        if len(kinds) != 1 or kinds[0]["kind"].endswith("List"):
            continue
        schema = dict(definitions[name])
        schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"} & schema["properties"].keys())
        write(folder, **kinds[0], schema=closed(schema, definitions))
    for file in sys.argv[3:]:
        for crd in yaml.load_all(pathlib.Path(file).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if not crd or crd["kind"] != "CustomResourceDefinition":
                continue
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = strict(version.get("schema", {}).get("openAPIV3Schema", {"type": "object"}))
                schema["properties"] = schema.get("properties", {}) | {
                    "apiVersion": {"const": f"{spec['group']}/{version['name']}"},
                    "kind": {"const": spec["names"]["kind"]},
                    "metadata": {"$ref": f"#/definitions/{OBJECT_META}"},
                }
                schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
                write(folder, spec["group"], version["name"], spec["names"]["kind"], closed(schema, definitions))


main()
