"""The same requests in the same order as a real server 2.17.0 was asked, with the same answers: status, content type, error
code, fields."""

import json
import os
import re
import unittest

from standin import HERE, RIGHTS, TOKENS, Standin

# Of the plugin for MLflow, which that server had.
IGNORED = {"plugins_output"}
# Nothing ran the workflows of that server.
STILL = ("--agent", "3600", "--start-delay", "3600")
IDENTITIES = {
    "": {}, "alice": {"kubeflow-userid": "alice@x"}, "bob": {"kubeflow-userid": "bob@x"},
    "token": {"authorization": "Bearer token"}, "other-token": {"authorization": "Bearer other-token"},
}


class Observed(unittest.TestCase):
    def replay(self, mode, *arguments):
        with open(os.path.join(HERE, "observed.json"), encoding="utf-8") as file:
            entries = json.load(file)[mode]
        known, wrong = {}, []
        with Standin(*STILL, *arguments) as standin:
            for entry in entries:
                found = self.ask(standin, entry, known)
                wrong += [f"{entry['title']}: {problem}" for problem in differences(entry, *found)]
                if found[0] == 200:
                    answer = json.loads(found[2])
                    known |= {v: answer[k] for k, v in entry["ids"].items() if isinstance(answer.get(k), str) and v not in known}
        self.assertEqual(wrong, [], "\n".join(wrong))
        print(f"{mode}-user: {len(entries)} exchanges as observed", flush=True)

    def ask(self, standin, entry, known):
        def translated(text):
            return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda m: known.get(m[0], m[0]), text)

        path, query = translated(entry["path"]), {k: translated(v) for k, v in entry["query"].items()}
        headers = IDENTITIES[entry["who"]]
        if "/upload" in path:
            field = "file" if "wrong field" in entry["title"] else "uploadfile"
            text = {"text": "a: 1\n"} if "no pipeline" in entry["title"] else {}
            return standin.upload(path, query, field=field, headers=headers, **text)
        body = "{" if entry["title"] == "run: not JSON" else translated(entry["body"]) or None
        return standin.ask(entry["method"], path, query, body, headers)

    def test_single_user(self):
        self.replay("single")

    def test_multi_user(self):
        self.replay("multi", "--multi-user", "--tokens", json.dumps(TOKENS), "--rights", json.dumps(RIGHTS))


def differences(entry, status, kind, text):
    if (status, kind) != (entry["status"], entry["type"]):
        yield f"{status} [{kind}] instead of {entry['status']} [{entry['type']}]: {text[:300]}"
        return
    if entry["fields"] is None:
        if text.startswith("{"):
            yield f"JSON instead of text: {text[:200]}"
        return
    answer = json.loads(text)
    if answer.get("code") != entry["code"]:
        yield f"code {answer.get('code')} instead of {entry['code']}"
    # A recorded answer may have been cut: it has no field that this one lacks.
    lacking = set(entry["fields"]) - set(answer) - IGNORED
    if lacking:
        yield f"lacks {sorted(lacking)}: {text[:300]}"


if __name__ == "__main__":
    unittest.main()
