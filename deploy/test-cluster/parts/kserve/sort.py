# Sorts KServe's rendered chart (standard input) by when it can be applied: manager.yaml, webhooks.yaml, storage.yaml in the folder
# of the second argument. There is no cert-manager: the webhooks get the certificate of the first argument.
import base64
import pathlib
import sys

import yaml

certificate, folder = sys.argv[1:]
authority = base64.b64encode(pathlib.Path(certificate).read_bytes()).decode()
manager, webhooks, storage = [], [], []
for item in yaml.safe_load_all(sys.stdin):
    if not item or item["apiVersion"].startswith("cert-manager.io"):
        continue
    item["metadata"].pop("creationTimestamp", None)
    (item["metadata"].get("annotations") or {}).pop("cert-manager.io/inject-ca-from", None)
    if item["kind"].endswith("WebhookConfiguration"):
        for webhook in item["webhooks"]:
            webhook["clientConfig"]["caBundle"] = authority
        webhooks.append(item)
    elif item["kind"].startswith("ClusterStorage"):
        storage.append(item)
    else:
        if item["kind"] == "Deployment":
            pod = item["spec"]["template"]["spec"]
            pod["containers"] = [c for c in pod["containers"] if c["name"] != "kube-rbac-proxy"]
            for container in pod["containers"]:
                # There is one of it, which would end whenever the machine is too busy to renew its lease.
                container["args"] = [a for a in container.get("args", []) if a != "--leader-elect"]
                for probe, period in ("livenessProbe", 10), ("readinessProbe", 1):
                    if probe in container:
                        container[probe] |= {"initialDelaySeconds": 1, "periodSeconds": period, "failureThreshold": 30}
        manager.append(item)
for name, items in ("manager", manager), ("webhooks", webhooks), ("storage", storage):
    with open(f"{folder}/{name}.yaml", "w") as file:
        yaml.safe_dump_all(items, file)
