"""Calls the deployment function of a Kfops 1 repository and writes the InferenceService that it returns as JSON.

Arguments: one JSON object in argv[1] with file, name, namespace, storage_uri, output. Runs in a sandbox.
"""

import importlib.util
import json
import pathlib
import sys

ARGUMENTS = json.loads(sys.argv[1])
sys.argv = sys.argv[:1]
FUNCTION = "inference_service_instance"


def main():
    file = pathlib.Path(ARGUMENTS["file"])
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location("deployment", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, FUNCTION, None)
    if function is None:
        sys.exit(f"kfops: it has no function {FUNCTION}")
    service = function(
        name=ARGUMENTS["name"],
        storage_uri=ARGUMENTS["storage_uri"],
        namespace=ARGUMENTS["namespace"],
        canary_traffic_percent=None,
    )
    if not isinstance(service, dict):
        from kubernetes.client import ApiClient

        service = ApiClient().sanitize_for_serialization(service)
    pathlib.Path(ARGUMENTS["output"]).write_text(json.dumps(service))


main()
