"""Rows as the API shows them."""

from .workflows import STATES, stamp

NEVER = "1970-01-01T00:00:00Z"
ZERO = "0001-01-01T00:00:00Z"
TYPES = {"system.Model": "Model", "system.Dataset": "Dataset", "system.Metrics": "Metric", "system.HTML": "HTML"}


def without_empty(row):
    """Proto's JSON leaves out what has the zero value."""
    return {key: value for key, value in row.items() if value not in (None, "", [], {})}


def run(row, options, full=False):
    """A run. The next release has no task_details; its tasks come with view=FULL."""
    shown = {
        "experiment_id": row["experiment_id"],
        "run_id": row["run_id"],
        "display_name": row["display_name"],
        "storage_state": row["storage_state"],
        "description": row.get("description"),
        "pipeline_spec": row.get("pipeline_spec"),
        "pipeline_version_reference": row.get("reference"),
        "runtime_config": row.get("runtime_config"),
        "service_account": row["service_account"],
        "created_at": stamp(row["created"]),
        "scheduled_at": stamp(row["created"]),
        "finished_at": stamp(row["finished"]) if row["finished"] else NEVER,
        "state": row["state"],
        "run_details": None if options.next or not row["details"] else {"task_details": row["details"]},
        "state_history": row["history"],
    }
    if options.next:
        tasks = next_tasks(row) if full else []
        shown |= {"task_count": len(row["details"]), "tasks": tasks}
    return without_empty(shown)


def details(workflow, row):
    """task_details: one entry for each node, in no order that means something."""
    entries = []
    for node in sorted(workflow.nodes, key=lambda node: node.id):
        state = STATES[node.phase]
        if not node.history or node.history[-1].get("state") != state:
            node.history.append(without_empty({"update_time": stamp(workflow.now()), "state": state}))
        entry = {
            "run_id": row["run_id"],
            "task_id": node.id,
            "display_name": node.name,
            "create_time": stamp(row["created"]),
            "start_time": stamp(node.started) if node.started else ZERO,
            "end_time": stamp(node.ended) if node.ended else ZERO,
            "state": state,
            "state_history": list(node.history),
            "child_tasks": [{"pod_name": pod} for pod in node.children],
        }
        entries.append(without_empty(entry))
    return entries


def next_tasks(row):
    """Tasks of the next release."""
    workflow = row["workflow"]
    created = stamp(row["created"])
    root = {"name": "ROOT", "display_name": workflow.name, "task_id": row["run_id"], "run_id": row["run_id"], "type": "ROOT"}
    shown = [root | {"create_time": created, "state": row["state"] if row["state"] in ("SUCCEEDED", "FAILED") else "RUNNING"}]
    for task in list(workflow.tasks.values()):
        node, event = task["nodes"][0], task["event"] or {}
        entry = {
            "name": task["name"],
            "display_name": workflow.leaves.get(task["name"], (task["name"],))[0],
            "task_id": node.id,
            "run_id": row["run_id"],
            "create_time": stamp(node.started),
            "end_time": stamp(node.ended) if node.ended else None,
            "state": {"Succeeded": "SUCCEEDED", "Failed": "FAILED"}.get(node.phase, "RUNNING"),
            "type": "RUNTIME",
            "parent_task_id": row["run_id"],
        }
        if node.phase == "Failed":
            entry["status_metadata"] = {"message": event.get("error") or "the task was stopped"}
        values = event.get("outputs", {})
        outputs = {
            "parameters": [
                {"value": value, "type": "OUTPUT", "parameter_key": key}
                for key, value in values.items()
                if not (isinstance(value, dict) and "artifact" in value)
            ],
            "artifacts": [
                {"artifacts": artifacts(key, uri, values.get(key) or {}), "type": "OUTPUT", "artifact_key": key}
                # What the launcher keeps of the container's output is an output like the others.
                for key, uri in (task["uris"] | ({"executor-logs": task["log"]} if task["log"] else {})).items()
            ],
        }
        entry["outputs"] = without_empty(outputs)
        shown.append(without_empty(entry))
    return shown


def artifacts(key, uri, value):
    """One artifact, or for metrics one for each number."""
    kind = TYPES.get(value.get("artifact"), "Artifact")
    metadata = value.get("metadata") or {}
    if kind == "Metric":
        return [{"artifact_id": f"{key}-{name}", "name": name, "type": kind, "number_value": number} for name, number in metadata.items()]
    return [without_empty({"artifact_id": key, "name": key, "type": kind, "uri": uri, "metadata": metadata})]
