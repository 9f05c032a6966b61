"""ML Metadata's gRPC server, as far as a run's artifacts go: up to 2.17 metrics are nowhere else.

Messages are written by hand, field by field (ml_metadata/proto/metadata_store.proto and metadata_store_service.proto): their
Python package wants an older protobuf than kfp."""

import struct
from concurrent import futures

import grpc

SERVICE = "ml_metadata.MetadataStoreService"
PAGE = 20


def varint(number):
    number &= (1 << 64) - 1
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])


def field(number, value):
    """One field: an integer, a double, or bytes and text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(data):
    """Number -> value of a message, one level deep."""
    found, at = {}, 0

    def read():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = read()
        value = read()
        if key & 7 == 2:
            value, at = data[at : at + value], at + value
        found[key >> 3] = value
    return found


def artifact(number, uri, kind, metadata):
    """An Artifact with its custom properties."""
    properties = b""
    for name, value in metadata.items():
        inner = field(2, float(value)) if isinstance(value, (int, float)) else field(3, str(value))
        properties += field(5, field(1, name) + field(2, inner))
    return field(1, number) + field(2, 7) + field(3, uri) + field(8, kind) + properties


class Metadata:
    """Contexts are runs."""

    def __init__(self, runs):
        self.runs = runs

    def context(self, request, _):
        asked = fields(request)
        name = asked.get(2, b"").decode()
        keys = list(self.runs.rows)
        if asked.get(1) != b"system.PipelineRun" or name not in keys:
            return b""
        return field(1, field(1, keys.index(name) + 1) + field(3, name))

    def artifacts(self, request, _):
        asked = fields(request)
        options = fields(asked.get(2, b""))
        size, start = options.get(1, PAGE), int(options.get(3, b"0") or 0)
        row = list(self.runs.rows.values())[asked[1] - 1]
        found = []
        for task in list(row["workflow"].tasks.values()):
            values = (task["event"] or {}).get("outputs", {})
            for key, uri in task["uris"].items():
                value = values.get(key) or {}
                found.append(artifact(len(found) + 1, uri, value.get("artifact", "system.Artifact"), value.get("metadata") or {}))
        more = field(2, str(start + size)) if start + size < len(found) else b""
        return b"".join(field(1, one) for one in found[start : start + size]) + more


def serve(listen, runs):
    """Starts it; its port."""
    metadata = Metadata(runs)
    calls = {"GetContextByTypeAndName": metadata.context, "GetArtifactsByContext": metadata.artifacts}
    handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in calls.items()}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port(listen)
    server.start()
    return server, port
