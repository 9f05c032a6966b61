"""Routes and HTTP."""

import email
import json
import re
import sys
import traceback
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .problems import Answer, Hang, Reset, grpc
from .runs import snake

BASE = "/apis/v2beta1"
LIMIT = 32 << 20
RUN = {"run_id", "display_name", "experiment_id", "description", "pipeline_version_id", "pipeline_spec", "service_account"}
RUN |= {"pipeline_version_reference", "runtime_config", "storage_state", "created_at", "scheduled_at", "finished_at", "state"}
RUN |= {"error", "run_details", "recurring_run_id", "state_history", "plugins_input", "plugins_output"}
EXPERIMENT = {"experiment_id", "display_name", "description", "created_at", "namespace", "storage_state", "last_run_created_at"}
# Fields of messages within.
NESTED = {"pipeline_version_reference": {"pipeline_id", "pipeline_version_id"}, "runtime_config": {"parameters", "pipeline_root"}}


def message(body, known):
    """The body as proto's JSON: names in both spellings, nothing unknown."""
    try:
        text = body.decode()
        parsed = json.loads(text or "{}")
    except ValueError:
        raise grpc(3, "unexpected EOF") from None
    if not isinstance(parsed, dict):
        raise grpc(3, "proto: syntax error (line 1:1): unexpected token")
    return fields(parsed, known, text)


def fields(parsed, known, text):
    found = {}
    for key, value in parsed.items():
        name = key if key in known else snake(key)
        if name not in known:
            raise grpc(3, f'proto: (line 1:{text.find(json.dumps(key)) + 1}): unknown field "{key}"')
        nested = NESTED.get(name)
        found[name] = fields(value, nested, text) if nested and isinstance(value, dict) else value
    return found


def upload(headers, body):
    """The file of a multipart body, or None when there is none under its name."""
    head = f"content-type: {headers.get('content-type', '')}\r\n\r\n".encode()
    for part in email.message_from_bytes(head + body).walk():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            return part.get_payload(decode=True)
    return None


class Routes:
    """Method and path -> call."""

    def __init__(self, options, identity, pipelines, runs, faults):
        self.options, self.identity, self.pipelines, self.runs, self.faults = options, identity, pipelines, runs, faults
        p, r, key = pipelines, runs, r"([^/:]+)"
        self.table = [
            ("GET", r"/healthz", lambda q, h, b: self.health()),
            ("POST", r"/pipelines/upload", lambda q, h, b: p.upload(q, h, upload(h, b))),
            ("POST", r"/pipelines/upload_version", lambda q, h, b: p.upload_version(q, h, upload(h, b))),
            ("GET", r"/pipelines", lambda q, h, b: p.list_pipelines(q, h)),
            ("GET", rf"/pipelines/names/([^/]+)", lambda q, h, b, name: p.by_name(name, q, h)),
            ("GET", rf"/pipelines/{key}", lambda q, h, b, i: p.pipeline(i, h)),
            ("DELETE", rf"/pipelines/{key}", lambda q, h, b, i: p.delete_pipeline(i)),
            ("GET", rf"/pipelines/{key}/versions", lambda q, h, b, i: p.list_versions(i, q, h)),
            ("GET", rf"/pipelines/{key}/versions/{key}", lambda q, h, b, i, v: p.version(v, h)),
            ("DELETE", rf"/pipelines/{key}/versions/{key}", lambda q, h, b, i, v: p.delete_version(v, h)),
            ("POST", r"/experiments", lambda q, h, b: p.create_experiment(message(b, EXPERIMENT), h)),
            ("GET", r"/experiments", lambda q, h, b: p.list_experiments(q, h)),
            ("GET", rf"/experiments/{key}", lambda q, h, b, i: p.experiment(i, h)),
            ("POST", r"/runs", lambda q, h, b: r.create(message(b, RUN), h)),
            ("GET", r"/runs", lambda q, h, b: r.list(q, h)),
            ("GET", rf"/runs/{key}", lambda q, h, b, i: r.get(i, q, h)),
            ("DELETE", rf"/runs/{key}", lambda q, h, b, i: r.delete(i, h)),
            ("POST", rf"/runs/{key}:terminate", lambda q, h, b, i: r.terminate(i, h)),
            ("POST", rf"/runs/{key}:retry", lambda q, h, b, i: r.retry(i, h)),
            ("POST", rf"/runs/{key}:archive", lambda q, h, b, i: r.store(i, h, "ARCHIVED")),
            ("POST", rf"/runs/{key}:unarchive", lambda q, h, b, i: r.store(i, h, "AVAILABLE")),
        ]

    def health(self):
        tag = "2.18.0" if self.options.next else "2.17.0"
        return {"commit_sha": "0" * 40, "tag_name": tag, "multi_user": self.options.multi_user, "pipeline_store": "database"}

    def call(self, method, path, query, headers, body):
        if not path.startswith(BASE + "/"):
            raise grpc(5, "Not Found")
        path = path.removeprefix(BASE)
        known = False
        for verb, pattern, call in self.table:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return call(query, headers, body, *map(urllib.parse.unquote, match.groups()))
            known = known or bool(match) or bool(re.match(r"/runs/[^/]+:", path))
        raise grpc(12, "Method Not Allowed") if known else grpc(5, "Not Found")

    def admin(self, method, path, body):
        """For tests only: not part of KFP."""
        if (method, path) == ("POST", "/_standin/faults"):
            self.faults.set(json.loads(body or b"{}"))
            return {}
        if (method, path) == ("GET", "/_standin/workflows"):
            return {"workflows": self.runs.shown_workflows()}
        raise grpc(5, "Not Found")


def server(address, routes):
    """An HTTP server; one thread for each connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one(self):
            url = urllib.parse.urlsplit(self.path)
            body = self.rfile.read(min(int(self.headers.get("content-length") or 0), LIMIT))
            if url.path.startswith("/_standin/"):
                return self.answer(Answer(200, json.dumps(routes.admin(self.command, url.path, body))))
            query = dict(urllib.parse.parse_qsl(url.query))
            if routes.options.log:
                print(f"{self.command} {self.path}", file=sys.stderr, flush=True)
            try:
                routes.faults.strike(self.command, url.path, "before")
                try:
                    found = routes.call(self.command, url.path, query, self.headers, body)
                    found = Answer(200, json.dumps(found))
                except Answer as problem:
                    found = problem
                routes.faults.strike(self.command, url.path, "after")
                return self.answer(found)
            except Answer as problem:
                return self.answer(problem)
            except Hang:
                # Until the caller has enough.
                self.connection.settimeout(None)
                self.rfile.read(1)
                self.close_connection = True
            except Reset:
                self.close_connection = True
            except (BrokenPipeError, ConnectionResetError):
                # The caller did not wait for the answer.
                self.close_connection = True
            except Exception:
                traceback.print_exc()
                self.answer(grpc(13, "the stand-in has a fault"))
            return None

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one

        def answer(self, found):
            body = found.body.encode()
            self.send_response(found.status)
            self.send_header("content-type", found.content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    return Server(address, Handler)
