"""One revision of an InferenceService on this machine: KServe's own server with the model of one folder.

Arguments: one JSON object in argv[1] with name, revision, format, model, address_file, otlp_endpoint (or null).
It listens on the loopback interface only, on a free port, and writes that address to address_file when the model
is loaded. Every response says in the header `kfops-revision` which revision made it.
"""

import asyncio
import json
import logging
import os
import pathlib
import socket
import sys

SETTINGS = json.loads(sys.argv[1])
# KServe parses sys.argv when it is imported.
sys.argv = sys.argv[:1]

import kserve.model_server  # noqa: E402
from kserve import Model, ModelServer  # noqa: E402
from kserve.protocol.rest.server import RESTServer  # noqa: E402
from kserve.utils.utils import get_predict_input, get_predict_response  # noqa: E402

EXTENSIONS = {
    "sklearn": (".joblib", ".pkl", ".pickle"),
    "xgboost": (".ubj", ".json", ".bst", ".joblib", ".pkl"),
    "lightgbm": (".bst", ".txt", ".joblib", ".pkl"),
}


def fail(text):
    """Ends with a last line that says why; the deployer shows it."""
    sys.exit(f"kfops: {text}")


def model_file(folder, format_name):
    """The one model file of the folder."""
    path = pathlib.Path(folder)
    if path.is_file():
        return path
    if not path.is_dir():
        fail(f"there is no model at {folder}")
    extensions = EXTENSIONS[format_name]
    found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in extensions)
    if len(found) != 1:
        names = ", ".join(str(p.relative_to(path)) for p in found[:5]) or "none"
        fail(f"the model's folder must hold one file of {', '.join(extensions)}; found: {names}")
    return found[0]


def load(format_name, path):
    """A function from inputs to predictions."""
    if path.suffix in (".joblib", ".pkl", ".pickle"):
        import joblib

        return joblib.load(path).predict
    if format_name == "xgboost":
        import xgboost

        booster = xgboost.Booster(model_file=str(path))
        return lambda inputs: booster.predict(xgboost.DMatrix(inputs))
    import lightgbm

    return lightgbm.Booster(model_file=str(path)).predict


class LoadedModel(Model):
    """A model that is loaded before the server starts."""

    def __init__(self, name, predict):
        super().__init__(name)
        self.predict_inputs = predict
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        inputs = get_predict_input(payload)
        result = await asyncio.get_running_loop().run_in_executor(None, self.predict_inputs, inputs)
        return get_predict_response(payload, result, self.name)


def tracing(endpoint):
    """The provider of spans and a tracer of it, or None twice."""
    if not endpoint:
        return None, None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider, sampling
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({
        "service.name": SETTINGS["name"],
        "service.namespace": SETTINGS["namespace"],
        "service.version": SETTINGS["revision"],
    })
    provider = TracerProvider(resource=resource, sampler=sampling.ParentBased(sampling.ALWAYS_OFF))
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider, provider.get_tracer("kfops")


class Application:
    """KServe's ASGI application with the revision in each response and a span for each traced prediction."""

    def __init__(self, inner):
        self.inner = inner
        self.revision = [(b"kfops-revision", SETTINGS["revision"].encode())]
        self.provider, self.tracer = tracing(SETTINGS["otlp_endpoint"])
        self.flushes = set()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        status = 0
        complete = False

        async def answer(message):
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": list(message.get("headers", [])) + self.revision}
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        async def respond():
            try:
                await self.inner(scope, receive, answer)
            except Exception:
                # An error of the model is answered (and logged) and then raised again. Passed on, it would make uvicorn
                # close the connection, and lose a request that the router is sending on it.
                if not complete:
                    raise

        predicts = scope["path"].endswith((":predict", "/infer"))
        if self.tracer is None or not predicts:
            await respond()
            return
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"] if k.startswith(b"trace")}
        context = TraceContextTextMapPropagator().extract(carrier)
        with self.tracer.start_as_current_span("model.predict", context=context, kind=SpanKind.SERVER) as span:
            try:
                await respond()
            finally:
                span.set_attribute("kfops.revision", SETTINGS["revision"])
                span.set_attribute("http.response.status_code", status)
                if status >= 500 or status == 0:
                    span.set_status(StatusCode.ERROR)
        if span.is_recording() or span.get_span_context().trace_flags.sampled:
            flush = asyncio.get_running_loop().run_in_executor(None, self.provider.force_flush, 5000)
            self.flushes.add(flush)
            flush.add_done_callback(self.flushes.discard)


class LoopbackServer(RESTServer):
    """KServe's server binds every interface; this one listens on a socket of the loopback interface."""

    async def start(self):
        self.create_application()
        # With the protocol named, asyncio turns Nagle's algorithm off for each connection.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        self.config.load()
        self.config.loaded_app = Application(self.config.loaded_app)
        address = pathlib.Path(SETTINGS["address_file"])
        draft = address.with_suffix(".draft")
        draft.write_text("%s:%d" % listener.getsockname())
        os.replace(draft, address)
        await self._server.serve(sockets=[listener])


def main():
    format_name = SETTINGS["format"]
    path = model_file(SETTINGS["model"], format_name)
    try:
        predict = load(format_name, path)
    except ImportError as error:
        fail(f"cannot load the model: {error}; it needs a package that the serving environment does not have")
    except Exception as error:  # whatever a model file does when it is loaded
        fail(f"cannot load the model {path.name}: {type(error).__name__}: {error}")
    kserve.model_server.RESTServer = LoopbackServer
    server = ModelServer(enable_grpc=False, workers=1, grace_period=20, enable_latency_logging=False)
    # A line for each request would fill the disk; Envoy counts them.
    for name in ("uvicorn.access", "kserve.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([LoadedModel(SETTINGS["name"], predict)])


main()
