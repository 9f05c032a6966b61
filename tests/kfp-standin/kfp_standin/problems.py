"""What the API server says when it refuses: two shapes for gRPC's routes and two for uploads."""

import json

STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 10: 409, 12: 501, 13: 500, 16: 401}


class Answer(Exception):
    """An answer that is no success; may be raised from anywhere."""

    def __init__(self, status, body, content_type="application/json"):
        super().__init__(status, body)
        self.status, self.body, self.content_type = status, body, content_type


class Hang(Exception):
    """The server takes the request and never answers."""


class Reset(Exception):
    """The connection is cut without an answer."""


def grpc(code, message, detail=None):
    """The gateway's shape. `detail` is what the innermost error says; faults of the server hide it."""
    detail = "Internal Server Error" if code == 13 else detail
    body = {"code": code, "message": message}
    if detail is not None:
        status = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": detail}
        body["details"] = [status]
    return Answer(STATUS[code], json.dumps(body))


def missing(kind, key, before):
    """No such row."""
    detail = f"{kind} {key} not found"
    return grpc(5, f"{before}ResourceNotFoundError: {detail}", detail)


def upload(status, message, plain=False):
    """The shape of uploads; some come as JSON that says it is text."""
    body = json.dumps({"error_message": message, "error_details": f"{message}\ngithub.com/kubeflow/pipelines/…"})
    return Answer(status, body, "text/plain; charset=utf-8" if plain else "application/json")


def text(status, message):
    """Bare text."""
    return Answer(status, f"{message}\n", "text/plain; charset=utf-8")
