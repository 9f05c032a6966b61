"""How runs behave, as a real server 2.17.0 was seen to behave: states, times, terminate, retry, duplicates, faults."""

import json
import os
import socket
import sys
import tempfile
import unittest

import grpc
from kfp import compiler, dsl
from standin import HERE, Standin

sys.path.insert(0, os.path.dirname(HERE))
from kfp_standin import metadata  # noqa: E402

SUCCEEDED, FAILED = "SUCCEEDED", "FAILED"


@dsl.component(base_image="python", install_kfp_package=False)
def train(seconds: float, fail: bool, model: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]):
    import os
    import time

    time.sleep(seconds)
    print("training")
    os.makedirs(model.path)
    with open(model.path + "/model.txt", "w") as file:
        file.write("trained")
    metrics.log_metric("accuracy", 0.5)
    if fail:
        raise RuntimeError("no luck")


@dsl.pipeline(name="tiny")
def tiny(seconds: float = 0.0, fail: bool = False):
    train(seconds=seconds, fail=fail)


def ir():
    with tempfile.TemporaryDirectory() as folder:
        compiler.Compiler().compile(tiny, folder + "/p.yaml")
        with open(folder + "/p.yaml", encoding="utf-8") as file:
            return file.read()


IR = ir()


class Runs(unittest.TestCase):
    def start(self, *arguments):
        self.standin = self.enterContext(Standin(*arguments))
        status, _, _ = self.standin.upload("/pipelines/upload", {"name": "tiny"}, IR)
        self.assertEqual(status, 200)
        self.pipeline = self.standin.json("GET", "/pipelines/names/tiny")["pipeline_id"]

    def create(self, run_id=None, name="r", status=200, **parameters):
        body = {"display_name": name, "pipeline_version_reference": {"pipeline_id": self.pipeline}}
        body |= {"run_id": run_id} if run_id else {}
        body |= {"runtime_config": {"parameters": parameters}} if parameters else {}
        return self.standin.json("POST", "/runs", body, status)

    def ended(self, run):
        return self.standin.until(f"/runs/{run}", lambda r: r.get("state") in (SUCCEEDED, FAILED))

    def files(self):
        root = self.standin.folder.name
        return sorted(os.path.relpath(os.path.join(at, name), root) for at, _, names in os.walk(root) for name in names)

    def test_a_run_succeeds_and_its_artifacts_lie_where_kfp_puts_them(self):
        self.start()
        run = self.create()["run_id"]
        seen = []
        self.standin.until(f"/runs/{run}", lambda r: seen.append(r) or r.get("state") == SUCCEEDED)
        self.assertEqual(seen[0]["state"], "PENDING")
        self.assertTrue(any("state" not in r for r in seen), "the state is missing while the workflow has no phase")
        for r in seen[:-1]:
            self.assertEqual(r["finished_at"], "1970-01-01T00:00:00Z")
        open_tasks = [t for r in seen for t in r.get("run_details", {}).get("task_details", []) if t["end_time"].startswith("0001")]
        self.assertTrue(open_tasks)
        last = self.standin.json("GET", f"/runs/{run}")
        names = {t["display_name"] for t in last["run_details"]["task_details"]}
        self.assertLess({"root", "root-driver", "train", "train-driver", "executor"}, names)
        self.assertIn({"update_time": last["state_history"][1]["update_time"]}, last["state_history"])
        before = seen[-1].get("run_details", {}).get("task_details", [])
        self.assertNotEqual([t.get("state") for t in before], [t.get("state") for t in last["run_details"]["task_details"]])
        paths = [file.split("/") for file in self.files()]
        self.assertEqual([p[:5] + p[6:] for p in paths], [["v2", "artifacts", "tiny", run, "train", "executor-logs"], ["v2", "artifacts", "tiny", run, "train", "model", "model.txt"]])

    def test_a_run_id_of_ours_and_its_duplicate(self):
        self.start()
        run = "11111111-2222-4333-8444-555555555555"
        self.assertEqual(self.create(run)["run_id"], run)
        self.assertIn("Duplicate entry", self.create(run, status=500)["message"])
        self.assertEqual([w["run_id"] for w in self.standin.workflows()], [run, run])

    def test_names_that_the_database_refuses_leave_a_live_workflow(self):
        self.start()
        for name in ("x" * 300, "\N{PARTY POPPER}"):
            self.create(name=name, status=500)
        self.assertEqual(self.standin.json("GET", "/runs"), {})
        self.assertEqual(len(self.standin.workflows()), 2)

    def test_terminate_ends_as_failed_and_only_once(self):
        self.start()
        run = self.create(seconds=60.0)["run_id"]
        self.standin.until(f"/runs/{run}", lambda r: r.get("state") == "RUNNING" and "run_details" in r)
        path = f"/runs/{run}:terminate"
        self.assertEqual(self.standin.json("POST", path), {})
        self.assertEqual(self.standin.json("GET", f"/runs/{run}")["state"], "CANCELING")
        self.assertIn("Row not found", self.standin.json("POST", path, status=400)["message"])
        self.assertEqual(self.ended(run)["state"], FAILED)
        self.standin.json("POST", path, status=400)
        self.assertEqual(self.standin.json("POST", f"/runs/{run}:retry"), {})
        self.assertEqual(self.standin.json("GET", f"/runs/{run}")["state"], "RUNNING")

    def test_terminate_at_once_shows_a_root_without_state(self):
        self.start("--start-delay", "0.5")
        run = self.create()["run_id"]
        self.standin.json("POST", f"/runs/{run}:retry", status=409)
        self.standin.json("POST", f"/runs/{run}:terminate")
        self.ended(run)
        tasks = self.standin.json("GET", f"/runs/{run}")["run_details"]["task_details"]
        self.assertEqual([(t["display_name"], t.get("state")) for t in tasks], [("root", None)])

    def test_a_failed_task(self):
        self.start()
        run = self.create(fail=True)["run_id"]
        self.assertEqual(self.ended(run)["state"], FAILED)
        last = self.standin.json("GET", f"/runs/{run}")
        states = {t["display_name"]: t["state"] for t in last["run_details"]["task_details"]}
        self.assertEqual((states["train"], states["root"], states["train-driver"]), (FAILED, FAILED, SUCCEEDED))
        self.assertFalse(any("error" in t for t in last["run_details"]["task_details"]))

    def test_the_next_release_has_uris_and_metrics(self):
        self.start("--next")
        run = self.create()["run_id"]
        self.ended(run)
        plain = self.standin.ask("GET", f"/runs/{run}", {"view": "FULL"})[2]
        tasks = {t["name"]: t for t in json.loads(plain)["tasks"]}
        artifacts = {a["artifact_key"]: a["artifacts"] for a in tasks["train"]["outputs"]["artifacts"]}
        self.assertTrue(artifacts["model"][0]["uri"].startswith(f"minio://mlpipeline/v2/artifacts/tiny/{run}/train/"))
        self.assertEqual((artifacts["metrics"][0]["name"], artifacts["metrics"][0]["number_value"]), ("accuracy", 0.5))

    def test_ml_metadata_leads_from_a_run_to_its_metrics(self):
        self.start("--metadata", "127.0.0.1:0")
        run = self.create()["run_id"]
        self.ended(run)
        with grpc.insecure_channel(self.standin.metadata) as channel:

            def call(name, message):
                return metadata.fields(channel.unary_unary(f"/{metadata.SERVICE}/{name}")(message))

            asked = metadata.field(1, "system.PipelineRun") + metadata.field(2, run)
            context = metadata.fields(call("GetContextByTypeAndName", asked)[1])[1]
            kinds, token = {}, b""
            while token is not None:
                options = metadata.field(1, 1) + (metadata.field(3, token) if token else b"")
                page = call("GetArtifactsByContext", metadata.field(1, context) + metadata.field(2, options))
                found, token = metadata.fields(page[1]), page.get(2)
                kinds[found[8]] = found[3].decode()
        self.assertEqual(sorted(kinds), [b"system.Metrics", b"system.Model"])
        for uri in kinds.values():
            self.assertTrue(uri.startswith(f"minio://mlpipeline/v2/artifacts/tiny/{run}/train/"), uri)

    def test_a_workflow_that_is_gone(self):
        self.start("--gone", "0.2")
        run = self.create(seconds=60.0)["run_id"]
        self.standin.faults(switches={"workflow_gone": True})
        self.assertIn("not found", self.standin.json("POST", f"/runs/{run}:terminate", status=500)["message"])
        self.assertEqual(self.standin.json("GET", f"/runs/{run}")["state"], "CANCELING")

    def test_malformed_yaml_is_never_answered(self):
        self.start()
        with self.assertRaises((TimeoutError, socket.timeout)):
            self.standin.upload("/pipelines/upload", {"name": "bad"}, "a: [", timeout=0.5)

    def test_faults_happen_as_often_as_they_should(self):
        self.start()
        rule = {"method": "POST", "path": "/runs$", "do": "500", "place": "after", "times": 1}
        self.standin.faults(rules=[rule])
        run = "11111111-2222-4333-8444-555555555556"
        self.create(run, status=500)
        self.assertEqual(self.standin.json("GET", f"/runs/{run}")["run_id"], run)
        self.standin.faults(rules=[{"path": "/healthz", "do": "503"}])
        self.assertEqual(self.standin.ask("GET", "/healthz")[0], 503)
        self.assertEqual(self.standin.ask("GET", "/healthz")[0], 200)

    def test_pages(self):
        self.start()
        for name in "abc":
            self.create(name=name, seconds=0.0)
        first = self.standin.json("GET", "/runs", query={"page_size": 2})
        query = {"page_size": 2, "page_token": first["next_page_token"]}
        self.assertEqual(len(self.standin.json("GET", "/runs", query=query)["runs"]), 1)
        self.assertEqual(self.standin.ask("GET", "/runs", query | {"sort_by": "name"})[0], 400)
        self.assertEqual(self.standin.ask("GET", "/runs", {"page_size": -1})[0], 400)


if __name__ == "__main__":
    unittest.main()
