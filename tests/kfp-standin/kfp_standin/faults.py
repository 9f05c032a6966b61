"""What a test wants to go wrong. Rules match requests by method and path; switches change how runs behave."""

import re
import threading
import time

from .problems import Answer, Hang, Reset, grpc

SWITCHES = {"terminate_never_ends": False, "workflow_gone": False, "row_fails": False}
PLACES = ("before", "after")


class Faults:
    """Rules: {"method", "path" (a regular expression), "times", "do", "place"}; `do` is a status, "hang", "reset" or
    "slow:SECONDS"; with place "after" the request takes effect first."""

    def __init__(self):
        self.lock, self.rules, self.switches = threading.Lock(), [], dict(SWITCHES)

    def set(self, body):
        with self.lock:
            self.rules = [dict(rule) for rule in body.get("rules", [])]
            self.switches = SWITCHES | body.get("switches", {})

    def take(self, method, path, place):
        """The first rule that matches and has not been used up."""
        with self.lock:
            for rule in self.rules:
                fits = rule.get("place", "before") == place and rule.get("method", method) == method
                if fits and re.search(rule.get("path", ""), path) and rule.get("times", 1) > 0:
                    rule["times"] = rule.get("times", 1) - 1
                    return str(rule["do"])
        return None

    def strike(self, method, path, place):
        """Does what the rule says."""
        what = self.take(method, path, place)
        if what is None:
            return
        if what == "hang":
            raise Hang
        if what == "reset":
            raise Reset
        if what.startswith("slow:"):
            time.sleep(float(what.removeprefix("slow:")))
        elif what == "500":
            raise grpc(13, "InternalServerError: a fault of the test")
        elif what == "html":
            raise Answer(502, "<html><body>Bad Gateway</body></html>", "text/html")
        else:
            # As a proxy of the mesh answers when the server is away.
            raise Answer(int(what), "upstream connect error or disconnect/reset before headers", "text/plain")
