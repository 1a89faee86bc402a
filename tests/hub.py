"""A small stand-in for the Hugging Face hub on localhost: models, their commits, their files.

Answers what the library `huggingface_hub` asks to make, fill, look up and fetch a model.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_who_may_write"


class Hub:
    """What it holds: for each model whether it is private, and its commits in order."""

    def __init__(self):
        self.private, self.commits = {}, {}

    def commit(self, name, files):
        """Add a commit, with what was there before, and give its hash."""
        before = list(self.commits.get(name, {"": {}}).values())[-1]
        content = before | files
        listed = json.dumps([name, len(self.commits.get(name, ())), sorted(content)])
        oid = hashlib.sha1(listed.encode()).hexdigest()
        self.commits.setdefault(name, {})[oid] = content
        return oid

    def find(self, name, revision):
        """The hash and the files of a revision; None where there is none."""
        commits = self.commits.get(name, {})
        oid = list(commits)[-1] if revision == "main" and commits else revision
        return (oid, commits[oid]) if oid in commits else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, status, content=b"", headers=()):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.hub.private.setdefault(name, asked.get("visibility") == "private")
            self._answer(200, {"url": f"{self.server.endpoint}/{name}"})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            values = [line["value"] for line in map(json.loads, body.splitlines())]
            files = {v["path"]: base64.b64decode(v["content"]) for v in values if "path" in v}
            oid = self.server.hub.commit(found[1], files)
            url = f"{self.server.endpoint}/{found[1]}/commit/{oid}"
            self._answer(200, {"commitOid": oid, "commitUrl": url, "hookOutput": ""})
        else:
            self._answer(404)

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)/?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not (info or file):
            self._answer(404)
            return
        found = self.server.hub.find(*(info[1], info[3]) if info else file.groups()[:2])
        if found is None or (file and file[3] not in found[1]):
            code = "EntryNotFound" if found else "RepoNotFound"
            self._answer(404, {"error": "not here"}, [("X-Error-Code", code)])
        elif file:
            content = found[1][file[3]]
            etag = hashlib.sha256(content).hexdigest()
            self._answer(200, content, [("ETag", f'"{etag}"'), ("X-Repo-Commit", found[0])])
        elif info[2] == "revision":
            siblings = [{"rfilename": name} for name in found[1]]
            self._answer(200, {"id": info[1], "sha": found[0], "siblings": siblings})
        else:
            self._answer(
                200,
                [
                    {"type": "file", "path": name, "size": len(content), "oid": found[0]}
                    for name, content in found[1].items()
                ],
            )

    do_HEAD = do_GET


@contextlib.contextmanager
def serve():
    """Run one; gives the hub and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, server.endpoint = Hub(), f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.hub, server.endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
