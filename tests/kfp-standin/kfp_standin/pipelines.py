"""Experiments, pipelines and their versions."""

import threading
import time
import uuid

from . import listing, spec
from .problems import grpc, missing, text, upload
from .workflows import stamp

FIELDS = {"id": "pipeline_id", "name": "name", "display_name": "display_name", "created_at": "created_at", "namespace": "namespace"}
VERSION_FIELDS = FIELDS | {"id": "pipeline_version_id", "kind": "PipelineVersion"}
EXPERIMENT_FIELDS = FIELDS | {"id": "experiment_id", "name": "display_name", "kind": "Experiment"}
NAME, VERSION_NAME = 128, 127
IN_NAMESPACE = "An experiment cannot have an empty namespace in multi-user mode"


class Pipelines:
    """Rows are what the API shows, plus what starts with an underscore."""

    def __init__(self, options, identity):
        self.options, self.identity, self.lock = options, identity, threading.RLock()
        self.pipelines, self.versions, self.experiments = {}, {}, {}
        self.default = None if options.multi_user else self.new_experiment({"display_name": "Default"})["experiment_id"]

    # Uploads.

    def upload(self, query, headers, body):
        name = query.get("name") or query.get("display_name") or "pipeline.yaml"
        if len(name.encode()) > NAME:
            raise text(400, f"Invalid input error: Pipeline.Name length cannot exceed {NAME}")
        if body is None:
            raise upload(400, "Failed to read pipeline from file", plain=True)
        namespace = query.get("namespace", "") if self.options.multi_user else ""
        self.identity.authorize_upload(headers, namespace, "Failed to create a pipeline")
        documents = spec.parse(body, "unknown template format")
        title = "Failed to create a pipeline and a pipeline version"
        with self.lock:
            taken = any(same(p["name"], name) and p.get("namespace", "") == namespace for p in self.pipelines.values())
            if taken:
                raise upload(409, title)
            # The version takes the same name, and may have one byte less.
            if len(name.encode()) > VERSION_NAME or not storable(name):
                raise upload(500, title)
            row = {"pipeline_id": str(uuid.uuid4()), "display_name": query.get("display_name") or name, "name": name}
            row |= {"description": query["description"]} if query.get("description") else {}
            row |= {"created_at": stamp(time.time())} | ({"namespace": namespace} if namespace else {})
            self.pipelines[row["pipeline_id"]] = row
            self.new_version(row["pipeline_id"], name, query, documents)
            return row

    def upload_version(self, query, headers, body):
        title = "Failed to create a pipeline version"
        if body is None:
            raise upload(400, "Failed to read pipeline from file", plain=True)
        pipeline = self.pipelines.get(query.get("pipelineid", ""))
        name = query.get("name") or query.get("display_name") or "pipeline.yaml"
        if pipeline is None:
            raise upload(400, title, plain=True)
        if len(name.encode()) > VERSION_NAME:
            raise text(400, f"Invalid input error: PipelineVersion.Name length cannot exceed {VERSION_NAME}")
        self.identity.authorize_upload(headers, pipeline.get("namespace", ""), title)
        documents = spec.parse(body, title)
        with self.lock:
            versions = [v for v in self.versions.values() if v["pipeline_id"] == pipeline["pipeline_id"]]
            if any(same(version["name"], name) for version in versions):
                raise upload(409, title)
            if not storable(name):
                raise upload(500, title)
            return self.new_version(pipeline["pipeline_id"], name, query, documents)

    def new_version(self, pipeline, name, query, documents):
        row = {"pipeline_id": pipeline, "pipeline_version_id": str(uuid.uuid4())}
        row |= {"display_name": query.get("display_name") or name, "name": name}
        row |= {"description": query["description"]} if query.get("description") else {}
        shown, platform = documents
        if platform is not None:
            shown = {"pipeline_spec": shown, "platform_spec": platform}
        row |= {"created_at": stamp(time.time()), "pipeline_spec": shown}
        self.versions[row["pipeline_version_id"]] = row
        return row

    # Reading.

    def pipeline(self, key, headers):
        row = self.pipelines.get(key)
        if row is None:
            detail = f"Failed to get a pipeline {key}. Check error stack: Failed to get a pipeline with id {key}: "
            raise missing("Pipeline", key, detail)
        self.may_read(row, headers, "Failed to get a pipeline")
        return row

    def by_name(self, name, query, headers):
        namespace = query.get("namespace", "")
        for row in self.pipelines.values():
            if same(row["name"], name) and row.get("namespace", "") == namespace:
                self.may_read(row, headers, "Failed to get a pipeline")
                return row
        raise missing("Pipeline", name, f"Failed to get a pipeline with name {name}: ")

    def list_pipelines(self, query, headers):
        namespace = query.get("namespace", "") if self.options.multi_user else ""
        if namespace:
            self.may_read({"namespace": namespace}, headers, "Failed to list pipelines")
        rows = [row for row in self.pipelines.values() if row.get("namespace", "") == namespace]
        return listing.page(rows, query, FIELDS | {"kind": "Pipeline"}, "pipelines", "Failed to list pipelines")

    def version(self, key, headers):
        row = self.versions.get(key)
        if row is None:
            before = f"Failed to get a pipeline version {key}: Failed to get a pipeline version with id {key}: "
            raise missing("PipelineVersion", key, before)
        self.may_read(self.pipelines.get(row["pipeline_id"], {}), headers, "Failed to get a pipeline version")
        return row

    def list_versions(self, pipeline, query, headers):
        self.may_read(self.pipelines.get(pipeline, {}), headers, "Failed to list pipeline versions")
        rows = [row for row in self.versions.values() if row["pipeline_id"] == pipeline]
        return listing.page(rows, query, VERSION_FIELDS, "pipeline_versions", "Failed to list pipeline versions")

    def newest(self, pipeline):
        rows = [row for row in self.versions.values() if row["pipeline_id"] == pipeline]
        return rows[-1] if rows else None

    def may_read(self, row, headers, before):
        if row.get("namespace"):
            self.identity.authorize(headers, row["namespace"], "get", "pipelines", row.get("name", ""), before, "")

    # Deleting.

    def delete_pipeline(self, key):
        before = f"Failed to delete pipeline {key}. Check error stack: "
        if key not in self.pipelines:
            raise missing("Pipeline", key, f"{before}Failed to delete pipeline with id {key} as it was not found: ")
        version = self.newest(key)
        if version:
            detail = f"Failed to delete pipeline with id {key} as it has existing pipeline versions (e.g. {version['pipeline_version_id']}). Set cascade=true to delete all versions"
            raise grpc(3, f"{before}Invalid input error: {detail}", detail)
        del self.pipelines[key]
        return {}

    def delete_version(self, key, headers):
        self.version(key, headers)
        del self.versions[key]
        return {}

    # Experiments.

    def new_experiment(self, body):
        now = time.time()
        row = {"experiment_id": str(uuid.uuid4()), "display_name": body["display_name"]}
        row |= {"description": body["description"]} if body.get("description") else {}
        row |= {"created_at": stamp(now)}
        row |= {"namespace": body["namespace"]} if body.get("namespace") and self.options.multi_user else {}
        row |= {"storage_state": "AVAILABLE", "last_run_created_at": "1970-01-01T00:00:00Z"}
        self.experiments[row["experiment_id"]] = row
        return row

    def create_experiment(self, body, headers):
        name, namespace = body.get("display_name", ""), body.get("namespace", "")
        before = "Failed to create a experiment: "
        if not name:
            raise grpc(13, "[ExperimentServer]: Failed to create a experiment due to conversion error: InternalServerError: Failed to convert API experiment to model experiment: Invalid input error: Experiment must have a non-empty name")
        self.identity.authorize(headers, namespace, "create", "experiments", name, f"{before}Failed to authorize the request", IN_NAMESPACE)
        with self.lock:
            for row in self.experiments.values():
                if same(row["display_name"], name) and row.get("namespace", "") == (namespace if self.options.multi_user else ""):
                    detail = f"Failed to create a new experiment. The name {name} already exists. Please specify a new name"
                    raise grpc(6, f"{before}Already exist error: {detail}", detail)
            if len(name) > NAME or not storable(name):
                raise grpc(13, f"{before}InternalServerError: Failed to add experiment to experiment table: Error 1366 (22007): Incorrect string value")
            return self.new_experiment(body)

    def experiment(self, key, headers):
        row = self.experiments.get(key)
        if row is None:
            raise missing("Experiment", key, "Failed to fetch experiment: ")
        self.identity.authorize(headers, row.get("namespace", ""), "get", "experiments", key, "Failed to fetch experiment", IN_NAMESPACE)
        return row

    def list_experiments(self, query, headers):
        namespace = query.get("namespace", "")
        self.identity.authorize(headers, namespace, "list", "experiments", "", "List experiments failed: Failed to authorize with API", IN_NAMESPACE)
        rows = self.experiments.values()
        if self.options.multi_user:
            rows = [row for row in rows if row.get("namespace") == namespace]
        return listing.page(rows, query, EXPERIMENT_FIELDS, "experiments", "List experiments failed")


def same(one, other):
    """The database's comparison: no case, no blanks at the end."""
    return one.rstrip(" ").lower() == other.rstrip(" ").lower()


def storable(name):
    """The columns are of three-byte UTF-8."""
    return all(ord(char) < 0x10000 for char in name)
