"""Starts the stand-in; prints one line of JSON with its address when it listens."""

import argparse
import json
import os
import signal
import sys

from . import objects, web
from .faults import Faults
from .identity import Identity
from .pipelines import Pipelines
from .runs import Runs

HERE = os.path.dirname(os.path.abspath(__file__))
RUNNER = os.path.join(HERE, "../../../services/pipeline-runner/src/python")


def arguments():
    parser = argparse.ArgumentParser(prog="kfp_standin", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="address; port 0 picks a free one")
    parser.add_argument("--bucket", required=True, help="file:///folder, or http://s3-server/bucket")
    parser.add_argument("--root", default="minio://mlpipeline/v2/artifacts", help="pipeline root where a run names none")
    parser.add_argument("--runner", default=os.path.normpath(RUNNER), help="folder with run.py and task.py")
    parser.add_argument("--next", action="store_true", help="as the release after 2.17: view=FULL, no task_details")
    parser.add_argument("--multi-user", action="store_true", help="identities and namespaces")
    parser.add_argument("--tokens", default="{}", help="JSON: token -> {user, audiences}")
    parser.add_argument("--rights", default="{}", help="JSON: user -> namespaces")
    parser.add_argument("--review", action="store_true", help="asks Kubernetes about other tokens and rights")
    parser.add_argument("--metadata", help="address of ML Metadata's gRPC server; port 0 picks a free one")
    parser.add_argument("--agent", type=float, default=0.1, help="how often rows are brought up to date, seconds")
    parser.add_argument("--start-delay", type=float, default=0.3, help="how long a workflow has no phase, seconds")
    parser.add_argument("--gone", type=float, default=10.7, help="how long a terminate without workflow takes, seconds")
    parser.add_argument("--log", action="store_true", help="prints every request")
    return parser.parse_args()


def main():
    options = arguments()
    options.bucket = objects.bucket(options.bucket)
    faults = Faults()
    identity = Identity(options.multi_user, json.loads(options.tokens), json.loads(options.rights), options.review)
    pipelines = Pipelines(options, identity)
    runs = Runs(options, identity, pipelines, faults)
    host, _, port = options.listen.rpartition(":")
    server = web.server((host, int(port)), web.Routes(options, identity, pipelines, runs, faults))

    def stop(*_):
        runs.stop()
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    shown = {"address": f"{host}:{server.server_address[1]}"}
    if options.metadata:
        # Its handlers for forks and its threads do not go together; what is forked here calls no gRPC.
        os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
        from . import metadata

        grpc_server, grpc_port = metadata.serve(options.metadata, runs)
        shown["metadata"] = f"{options.metadata.rpartition(':')[0]}:{grpc_port}"
    print(json.dumps(shown), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
