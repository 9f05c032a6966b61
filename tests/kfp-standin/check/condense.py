"""Makes observed.json from transcripts of a real server (lines `=== title`, `>>> request`, `<<< answer`): what was asked, and
of the answer its status, content type, error code, fields and ids. Run by hand: `condense.py FOLDER`."""

import json
import os
import re
import sys
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {"single-user-1-uploads-experiments-runs.txt": "single", "multi-user.txt": "multi"}
IDS = r'"(pipeline_id|pipeline_version_id|experiment_id|run_id)": ?"([0-9a-f-]{36})"'
# What the transcript cuts off.
NAMES = {
    "upload: name 129": "n" * 129,
    "upload: name 128 (version takes the same name, max 127)": "245b79" + "n" * 122,
    "version name 127": "v" * 127,
    "version name 128": "v" * 128,
}
# Who asked is not in the transcript, but in its titles.
WHO = [(r"^healthz|^no identity", ""), (r"another audience", "other-token"), (r"token", "token"), (r"\bby bob\b", "bob"), (r"", "alice")]
SECOND = {"list runs of namespace alice by token": ["token", "bob", "alice"]}


def fields(text):
    """Names of the outermost fields, also of JSON that was cut."""
    try:
        parsed = json.loads(text)
        return sorted(parsed) if isinstance(parsed, dict) else None
    except ValueError:
        return sorted(set(re.findall(r'[{,] ?"(\w+)":', flat(text)))) if text.startswith("{") else None


def flat(text):
    """Without what is nested."""
    kept, depth, quoted = [], 0, False
    for before, char in zip(" " + text, text):
        quoted ^= char == '"' and before != "\\"
        depth -= char in "}]" and not quoted
        if depth <= 1:
            kept.append(char)
        depth += char in "{[" and not quoted
    return "".join(kept)


def exchanges(path, mode):
    title, count, request = "", 0, None
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("=== "):
            title, count = line.removeprefix("=== "), 0
        elif line.startswith(">>> "):
            method, rest = line.removeprefix(">>> ").split(" ", 1)
            target, _, body = rest.partition("  ")
            request = (method, target.removeprefix("/apis/v2beta1"), body)
        elif line.startswith("<<< ") and request:
            status, kind, body = re.match(r"<<< (\d+) \[([^\]]*)\] ?(.*)", line).groups()
            route, _, query = request[1].partition("?")
            query = dict(pair.split("=", 1) for pair in query.split("&") if pair)
            query = {key: urllib.parse.unquote_plus(value) for key, value in query.items()}
            if title in NAMES:
                query["name"] = NAMES[title]
            who = ""
            if mode == "multi":
                who = next(name for pattern, name in WHO if re.search(pattern, title))
                who = SECOND.get(title, [who] * 9)[count]
            code = re.match(r'\{"code": ?(\d+)', body)
            ids = {}
            for name, value in re.findall(IDS, body):
                ids.setdefault(name, value)
            yield {
                "title": title, "who": who, "method": request[0], "path": route, "query": query, "body": request[2],
                "status": int(status), "type": kind, "code": int(code[1]) if code else None, "fields": fields(body), "ids": ids,
            }
            count, request = count + 1, None


def main():
    found = {mode: list(exchanges(os.path.join(sys.argv[1], name), mode)) for name, mode in FILES.items()}
    with open(os.path.join(HERE, "observed.json"), "w", encoding="utf-8") as file:
        file.write("{\n")
        for position, (mode, entries) in enumerate(found.items()):
            lines = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in entries)
            file.write(f'  "{mode}": [\n{lines}\n  ]{"," if position == 0 else ""}\n')
        file.write("}\n")


main()
