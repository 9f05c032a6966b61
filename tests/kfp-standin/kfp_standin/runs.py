"""Runs: a row in the database and, made before it, a workflow."""

import re
import threading
import time
import uuid

from . import listing, spec, views
from .pipelines import storable
from .problems import grpc, missing
from .workflows import STATES, Workflow, stamp

FIELDS = {"id": "run_id", "kind": "Run", "name": "display_name", "display_name": "display_name", "state": "state"}
FIELDS |= {"created_at": "created_at", "finished_at": "finished_at", "scheduled_at": "scheduled_at", "status": "_status"}
ACTIVE = (None, "PENDING", "RUNNING")
CREATE = "Failed to create a new run: "


class Runs:
    """The runs of the server."""

    def __init__(self, options, identity, pipelines, faults):
        self.options, self.identity, self.pipelines, self.faults = options, identity, pipelines, faults
        self.rows, self.workflows, self.lock = {}, [], threading.RLock()
        threading.Thread(target=self.agent, daemon=True).start()

    # Creating.

    def create(self, body, headers):
        if not body.get("display_name"):
            raise grpc(13, "CreateJob(job.ToV2())Failed to create a run due to conversion error: InternalServerError: Failed to convert a API run detail to its internal representation: Invalid input error: Run name cannot be empty")
        experiment = self.experiment(body, headers)
        version, pipeline = self.manifest(body)
        config = body.get("runtime_config") or {}
        spec.check_parameters(pipeline, config.get("parameters") or {})
        run_id = body.get("run_id") or str(uuid.uuid4())
        root = config.get("pipeline_root") or pipeline.get("defaultPipelineRoot") or self.options.root
        with self.lock:
            # First the workflow, then the row: a row that fails leaves a live workflow.
            workflow = Workflow(self.options, run_id, pipeline, self.arguments(pipeline, config), root.rstrip("/"))
            self.workflows.append(workflow)
            name = body["display_name"]
            before = f"{CREATE}Failed to create a run: InternalServerError: Failed to store run {name} to table: "
            if self.faults.switches["row_fails"]:
                raise grpc(13, f"{before}Error 2006 (HY000): server has gone away")
            if run_id in self.rows:
                raise grpc(13, f"{before}Error 1062 (23000): Duplicate entry '{run_id}' for key 'PRIMARY'")
            if len(name) > 255 or not storable(name):
                raise grpc(13, f"{before}Error 1406 (22001): Data too long for column 'DisplayName' at row 1")
            now = time.time()
            row = {"run_id": run_id, "experiment_id": experiment, "display_name": name, "storage_state": "AVAILABLE"}
            row |= {"description": body.get("description"), "reference": version, "runtime_config": config or None}
            account = body.get("service_account") or ("default-editor" if self.options.multi_user else "pipeline-runner")
            row |= {"service_account": account, "pipeline_spec": body.get("pipeline_spec"), "created": now, "finished": None}
            row |= {"state": "PENDING", "history": [{"update_time": stamp(now), "state": "PENDING"}], "details": []}
            row |= {"workflow": workflow, "seen": 0, "stale": None}
            self.rows[run_id] = row
            return views.run(row, self.options)

    def experiment(self, body, headers):
        key = body.get("experiment_id")
        title = f"{CREATE}Failed to create a run due to invalid experimentId and namespace combination: "
        if not key and self.options.multi_user:
            detail = "Experiment id can not be empty in multi-user mode"
            raise grpc(3, f"{title}Invalid input error: {detail}", detail)
        if not key:
            return self.pipelines.default
        row = self.pipelines.experiments.get(key)
        if row is None:
            raise missing("Experiment", key, f"{title}Failed to fetch namespace for experiment {key}: Failed to fetch namespace from experiment {key}: ")
        namespace = row.get("namespace", "")
        before = f"{CREATE}Failed to create a run due to authorization error. Check if you have write permissions to namespace {namespace}: Failed to access run . Check if you have access to namespace {namespace}"
        self.identity.authorize(headers, namespace, "create", "runs", "", before, "")
        return key

    def manifest(self, body):
        """(reference, pipeline spec) of what is to run."""
        before = f"{CREATE}InternalServerError: Failed to create a run due to error fetching manifest: "
        if body.get("pipeline_spec"):
            return None, body["pipeline_spec"].get("pipeline_spec") or body["pipeline_spec"]
        reference = body.get("pipeline_version_reference") or {}
        pipeline, version = reference.get("pipeline_id", ""), reference.get("pipeline_version_id", "")
        if not pipeline and not version:
            raise grpc(13, f"{before}Invalid input error: Failed to fetch a template with an empty pipeline spec manifest")
        if version:
            row = self.pipelines.versions.get(version)
            if row is None:
                raise grpc(13, f"{before}ResourceNotFoundError: PipelineVersion {version} not found")
            if pipeline and row["pipeline_id"] != pipeline:
                raise grpc(13, f"{before}Invalid input error: Pipeline version {version} belongs to pipeline {row['pipeline_id']} (not {pipeline})")
        else:
            row = self.pipelines.newest(pipeline)
            if row is None:
                raise grpc(13, f"{before}ResourceNotFoundError: Pipeline {pipeline} not found")
        shown = row["pipeline_spec"]
        return {k: row[k] for k in ("pipeline_id", "pipeline_version_id")}, shown.get("pipeline_spec") or shown

    @staticmethod
    def arguments(pipeline, config):
        """Whole numbers come as such, whatever JSON made of them."""
        given = dict(config.get("parameters") or {})
        for name, value in given.items():
            kind = spec.inputs(pipeline).get(name, {}).get("parameterType")
            if kind == "NUMBER_INTEGER" and isinstance(value, float):
                given[name] = int(value)
        return given

    # Reading.

    def row(self, key, headers, before, verb):
        row = self.rows.get(key)
        if row is None:
            raise missing("Run", key, before)
        namespace = self.pipelines.experiments[row["experiment_id"]].get("namespace", "")
        action = before.split(":")[0]
        title = f"{action}: Failed to authorize the request: Failed to access run {key}. Check if you have access to namespace {namespace}"
        self.identity.authorize(headers, namespace, verb, "runs", row["workflow"].name, title, "")
        return row

    def get(self, key, query, headers):
        row = self.row(key, headers, f"Failed to get a run: Failed to fetch run {key}: ", "get")
        with self.lock:
            shown = views.run(row, self.options, query.get("view") == "FULL")
            # The details can be those of a read before.
            if row["stale"] is not None and "run_details" in shown:
                stale, row["stale"] = row["stale"], None
                shown["run_details"] = {"task_details": stale}
                if not stale:
                    del shown["run_details"]
            return shown

    def list(self, query, headers):
        namespace, experiment = query.get("namespace", ""), query.get("experiment_id", "")
        if experiment:
            known = self.pipelines.experiments.get(experiment)
            if known is None:
                raise missing("Experiment", experiment, f"Failed to list runs: Failed to list runs due to error fetching namespace for experiment {experiment}. Try filtering based on namespace: Failed to fetch namespace from experiment {experiment}: ")
            namespace = known.get("namespace", "")
        before = f"Failed to list runs: Failed to list runs due to authorization error. Check if you have permission to access namespace {namespace}"
        self.identity.authorize(headers, namespace, "list", "runs", "", before, "A run cannot have an empty namespace in multi-user mode")
        with self.lock:
            rows = []
            for row in self.rows.values():
                fits = not experiment or row["experiment_id"] == experiment
                if self.options.multi_user and self.pipelines.experiments[row["experiment_id"]].get("namespace") != namespace:
                    fits = False
                if fits:
                    rows.append(views.run(row, self.options) | {"_status": row["workflow"].phase})
            found = listing.page(rows, query, FIELDS, "runs", "Failed to list runs")
            for row in found.get("runs", []):
                row.pop("_status", None)
            return found

    # Changing.

    def terminate(self, key, headers):
        before = f"Failed to terminate a run: Failed to terminate run {key} due to error fetching the run: Failed to fetch run {key}: "
        row = self.row(key, headers, before, "terminate")
        with self.lock:
            if row["state"] not in ACTIVE:
                detail = f"Failed to terminate a run {key}. Row not found"
                raise grpc(3, f"Failed to terminate a run: Failed to terminate run {key}: Invalid input error: {detail}", detail)
            row["state"] = "CANCELING"
        if self.faults.switches["workflow_gone"] or row["workflow"].gone:
            time.sleep(self.options.gone)
            name = row["workflow"].name
            row["workflow"].gone = True
            row["workflow"].stop()
            raise grpc(13, f"Failed to terminate a run: InternalServerError: Failed to terminate run {key} due to error terminating its workflow: Failed to terminate workflow {name} due to patching error after multiple retries: Failed to terminate workflow {name} due to patching error: workflows.argoproj.io \"{name}\" not found")
        if not self.faults.switches["terminate_never_ends"]:
            row["workflow"].stop()
        return {}

    def retry(self, key, headers):
        row = self.row(key, headers, f"Failed to retry a run: Failed to fetch run {key}: ", "retry")
        before = f"Failed to retry a run: Failed to retry run {key}"
        workflow = row["workflow"]
        if not workflow.manifest:
            detail = f"Failed to retry run {key} due to error fetching workflow manifest"
            raise grpc(10, f"Failed to retry a run: BadRequestError: {detail}: Invalid input error: Workflow manifest cannot be empty", detail)
        if row["state"] != "FAILED":
            detail = "Workflow must be Failed/Error to retry"
            raise grpc(10, f"{before}: BadRequestError: {detail}: workflow cannot be retried", detail)
        with self.lock:
            row["state"], row["finished"] = "RUNNING", None
            row["history"].append({"update_time": stamp(time.time()), "state": "RUNNING"})
            workflow.again()
        return {}

    def store(self, key, headers, state):
        self.row(key, headers, f"Failed to archive a run: Failed to fetch run {key}: ", "archive")["storage_state"] = state
        return {}

    def delete(self, key, headers):
        self.row(key, headers, f"Failed to delete a run: Failed to delete run {key} as it does not exist: Failed to fetch run {key}: ", "delete")
        self.rows.pop(key)["workflow"].stop()
        return {}

    # The persistence agent.

    def agent(self):
        while True:
            time.sleep(self.options.agent)
            with self.lock:
                for row in list(self.rows.values()):
                    if row["seen"] != row["workflow"].changed and not row["workflow"].gone:
                        self.report(row)

    def report(self, row):
        """Brings the row up to what the workflow has become."""
        workflow = row["workflow"]
        with workflow.lock:
            row["seen"], state = workflow.changed, STATES[workflow.phase]
            before, row["details"] = row["details"], views.details(workflow, row)
            ended = state in ("SUCCEEDED", "FAILED")
            if ended:
                row["finished"] = workflow.finished
        if row["state"] == "CANCELING" and not ended:
            state = "CANCELING"
        if row["state"] == "CANCELING" and self.faults.switches["terminate_never_ends"]:
            return
        if row["history"][-1].get("state") != state:
            row["history"].append(views.without_empty({"update_time": stamp(time.time()), "state": state}))
            # The state is there a read before the tasks.
            row["stale"] = before
        row["state"] = state

    def stop(self):
        for workflow in self.workflows:
            workflow.stop()
            workflow.kill()

    def shown_workflows(self):
        """For tests: every workflow that there is, with or without a row."""
        return [{"name": w.name, "run_id": w.run_id, "phase": w.phase, "live": w.finished is None, "tasks": sorted(w.tasks)} for w in self.workflows]


BODY = re.compile(r"(?<!^)([A-Z])")


def snake(name):
    return BODY.sub(lambda match: "_" + match.group(1).lower(), name)
