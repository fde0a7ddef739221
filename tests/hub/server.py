"""A hub of our own on the loopback, as far as huggingface_hub, diffusers, transformers and datasets talk to one.

    python tests/hub/server.py FOLDER          # prints its address, serves until it is ended

Tokens are `hf_NAME_secret` and write to the namespace NAME. While FOLDER/stall exists, uploads of large files do not
end (and FOLDER/stalled appears): what a connection that hangs looks like.
"""

import base64
import json
import re
import sys
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from repositories import LARGE_BYTES, LARGE_SUFFIXES, Hub

_KIND = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_PREFIX = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+?)"
ROUTES = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("DELETE", r"/api/repos/delete", "delete"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("GET", _KIND, "info"),
    ("GET", _KIND + r"/revision/(?P<revision>[^/]+)", "info"),
    ("GET", _KIND + r"/refs", "refs"),
    ("GET", _KIND + r"/commits/(?P<revision>[^/]+)", "commits"),
    ("GET", _KIND + r"/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "tree"),
    ("POST", _KIND + r"/paths-info/(?P<revision>[^/]+)", "paths_info"),
    ("POST", _KIND + r"/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", _KIND + r"/commit/(?P<revision>[^/]+)", "commit"),
    ("POST", _KIND + r"/(?P<what>branch|tag)/(?P<ref>[^/]+)", "make_ref"),
    ("POST", _PREFIX + r"\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
    ("POST", r"/lfs/verify", "lfs_verify"),
    ("GET", r"/lfs/(?P<oid>[0-9a-f]{64})", "lfs_get"),
    ("GET", _PREFIX + r"/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
]


class Refusal(Exception):
    """An answer with an error status, and the headers by which clients tell errors apart."""

    def __init__(self, status: int, message: str, code: str | None = None, **body):
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


class Handler(BaseHTTPRequestHandler):
    """One connection; `hub` and `root` are set by `serve`."""

    hub: Hub
    root: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _any(self):
        length = int(self.headers.get("Content-Length") or 0)
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        self.body = b"".join(self._chunks()) if chunked else self.rfile.read(length)
        self.url = urlsplit(self.path)
        self.query = parse_qs(self.url.query)
        method = "GET" if self.command == "HEAD" else self.command
        try:
            for wanted, pattern, name in ROUTES:
                found = re.fullmatch(pattern, self.url.path)
                if wanted == method and found:
                    parts = {key: unquote(value) for key, value in found.groupdict().items() if value is not None}
                    return getattr(self, name)(**parts)
            raise Refusal(404, f"no such page: {self.command} {self.url.path}")
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self._json({"error": refusal.message, **refusal.body}, refusal.status, **headers)
        except Exception as error:  # a mistake of this hub: said, instead of a dropped connection
            traceback.print_exc()
            self._json({"error": repr(error)}, 500)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any

    def _chunks(self):
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    # ---- answers

    def _send(self, content: bytes, status=200, type_="application/octet-stream", **headers):
        self.send_response(status)
        self.send_header("Content-Type", type_)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value, status=200, **headers):
        self._send(json.dumps(value).encode(), status, "application/json", **headers)

    @property
    def _endpoint(self) -> str:
        return f"http://{self.headers['Host']}"

    # ---- who and what

    def _user(self) -> str | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        user = self.hub.user(header.removeprefix("Bearer "))
        if user is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return user

    def _writer(self, owner: str) -> str:
        user = self._user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if user != owner:
            raise Refusal(403, f"You don't have the rights to write to the namespace {owner}")
        return user

    def _repository(self, kind: str, name: str, write=False):
        user, repository = self._user(), self.hub.repository(kind, name)
        if repository is None or (repository.settings["private"] and user != name.split("/")[0]):
            missing = Refusal(404, "Repository not found", "RepoNotFound")
            raise missing if user else Refusal(401, "Invalid username or password.", "RepoNotFound")
        if write:
            self._writer(name.split("/")[0])
        return repository

    @staticmethod
    def _commit_of(repository, revision: str) -> str:
        commit = repository.resolve(revision)
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    # ---- accounts and repositories

    def whoami(self):
        user = self._user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        token = {"accessToken": {"displayName": "test", "role": "write"}}
        self._json({"type": "user", "id": user, "name": user, "fullname": user, "orgs": [], "auth": token})

    def _named(self):
        asked = json.loads(self.body)
        user = self._user()
        owner = asked.get("organization") or user
        self._writer(owner)
        return asked, asked.get("type", "model") + "s", f"{owner}/{asked['name']}"

    def create(self):
        asked, kind, name = self._named()
        url = f"{self._endpoint}/{'' if kind == 'models' else kind + '/'}{name}"
        if self.hub.repository(kind, name):
            raise Refusal(409, "You already created this repo", url=url)
        self.hub.create(kind, name, asked.get("visibility") == "private", asked.get("sdk"))
        self._json({"url": url, "name": name, "id": name})

    def delete(self):
        _, kind, name = self._named()
        self._repository(kind, name, write=True)
        self.hub.delete(kind, name)
        self._json({})

    def info(self, kind, name, revision="main"):
        repository = self._repository(kind, name)
        commit = self._commit_of(repository, revision)
        info = {
            "_id": name,
            "id": name,
            "author": name.split("/")[0],
            "sha": commit,
            "private": repository.settings["private"],
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "createdAt": "2026-01-01T00:00:00.000Z",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": path} for path in repository.files(commit)],
        }
        self._json(info | ({"sdk": repository.settings["sdk"]} if kind == "spaces" else {}))

    def refs(self, kind, name):
        repository = self._repository(kind, name)
        answer = {"converts": [], "pullRequests": []}
        for key, folder in (("branches", "heads"), ("tags", "tags")):
            found = repository.refs(folder).items()
            answer[key] = [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": c} for n, c in found]
        self._json(answer)

    def make_ref(self, kind, name, what, ref):
        repository, asked = self._repository(kind, name, write=True), json.loads(self.body or b"{}")
        start = ref if what == "tag" else asked.get("startingPoint", "main")
        folder, new = ("tags", asked["tag"]) if what == "tag" else ("heads", ref)
        if new in repository.refs(folder):
            raise Refusal(409, f"Reference already exists: {new}")
        repository.set_ref(folder, new, self._commit_of(repository, start))
        self._json({})

    def commits(self, kind, name, revision):
        repository = self._repository(kind, name)
        log = repository.log(self._commit_of(repository, revision))
        date = "2026-01-01T00:00:00.000Z"
        self._json([{"id": c, "title": t, "message": "", "date": date, "authors": []} for c, t in log])

    # ---- files

    def tree(self, kind, name, revision, path=""):
        repository = self._repository(kind, name)
        files = repository.files(self._commit_of(repository, revision))
        inside = f"{path.rstrip('/')}/" if path else ""
        found = [file for file in files.values() if file.path.startswith(inside)]
        if path and not found:
            raise Refusal(404, f"{path} does not exist on {revision}", "EntryNotFound")
        folders = {}
        for file in found:
            parts = file.path[len(inside) :].split("/")[:-1]
            for depth in range(len(parts)):
                folders[inside + "/".join(parts[: depth + 1])] = depth
        recursive = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        entries = [file.as_json() for file in found if recursive or "/" not in file.path[len(inside) :]]
        entries += [_folder(f) for f, depth in folders.items() if recursive or depth == 0]
        self._json(entries)

    def paths_info(self, kind, name, revision):
        repository = self._repository(kind, name)
        files = repository.files(self._commit_of(repository, revision))
        type_ = self.headers.get("Content-Type", "")
        asked = json.loads(self.body) if "json" in type_ else parse_qs(self.body.decode())
        entries = []
        for path in (path.strip("/") for path in asked.get("paths", [])):
            if path in files:
                entries.append(files[path].as_json())
            elif any(other.startswith(f"{path}/") for other in files):
                entries.append(_folder(path))
        self._json(entries)

    def preupload(self, kind, name, revision):
        repository = self._repository(kind, name, write=True)
        there = repository.files(self._commit_of(repository, revision))
        answer = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            large = path.endswith(LARGE_SUFFIXES) or file["size"] > LARGE_BYTES
            known = there.get(path)
            oid = known and (known.sha256 or known.oid)
            mode = "lfs" if large else "regular"
            answer.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answer})

    def commit(self, kind, name, revision):
        repository = self._repository(kind, name, write=True)
        operations = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        parent = operations[0]["value"].get("parentCommit")
        if parent and not self._commit_of(repository, revision).startswith(parent):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        try:
            new = self.hub.commit(repository, revision, operations, base64.b64decode)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        url = f"{self._endpoint}/{'' if kind == 'models' else kind + '/'}{name}/commit/{new}"
        self._json({"success": True, "commitOid": new, "commitUrl": url, "hookOutput": ""})

    def validate_yaml(self):
        text = json.loads(self.body)["content"]
        found = re.match(r"^---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        try:
            metadata = yaml.safe_load(found.group(1)) if found else {}
        except yaml.YAMLError as error:
            raise Refusal(400, "Invalid metadata", errors=[{"message": str(error)}], warnings=warnings) from None
        wrong = [] if isinstance(metadata or {}, dict) else ["metadata must be an object"]
        if not wrong and metadata:
            wrong += [f'"{k}" must be a string' for k in ("license", "pipeline_tag", "library_name")
                      if k in metadata and not isinstance(metadata[k], str)]  # fmt: skip
            wrong += [f'"{k}" must be an array' for k in ("tags", "model-index")
                      if k in metadata and not isinstance(metadata[k], list)]  # fmt: skip
        if wrong:
            raise Refusal(400, "Invalid metadata", errors=[{"message": m} for m in wrong], warnings=warnings)
        self._json({"errors": [], "warnings": warnings})

    def resolve(self, name, revision, path, kind="models"):
        repository = self._repository(kind, name)
        commit = self._commit_of(repository, revision)
        file = repository.files(commit).get(path)
        headers = {"X-Repo-Commit": commit}
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        if file.sha256 is None:
            return self._ranged(repository.content(file.oid), ETag=f'"{file.oid}"', **headers)
        location = f"http://localhost:{self.server.server_port}/lfs/{file.sha256}"  # another host, as the real one's
        linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size), "Location": location}
        self._send(b"", 302, **headers, **linked)

    def _ranged(self, content: bytes, **headers):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        headers["Accept-Ranges"] = "bytes"
        if wanted is None:
            return self._send(content, **headers)
        first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
        if first >= len(content):
            return self._send(b"", 416, **{"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(content[first : last + 1], 206, **headers)

    # ---- large files

    def lfs_batch(self, name, kind="models"):
        self._repository(kind, name, write=True)
        objects = []
        for asked in json.loads(self.body)["objects"]:
            answer = {"oid": asked["oid"], "size": asked["size"]}
            if not self.hub.large.path(asked["oid"]).is_file():
                upload = {"href": f"{self._endpoint}/lfs/{asked['oid']}"}
                answer["actions"] = {"upload": upload, "verify": {"href": f"{self._endpoint}/lfs/verify"}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid):
        if (self.root / "stall").exists():
            (self.root / "stalled").touch()
            while (self.root / "stall").exists():
                time.sleep(0.05)
        if not self.hub.large.put(oid, self.body):
            raise Refusal(400, "the content does not have this hash")
        self._json({})

    def lfs_verify(self):
        asked = json.loads(self.body)
        path = self.hub.large.path(asked["oid"])
        if not path.is_file() or path.stat().st_size != asked["size"]:
            raise Refusal(404, "the object was not uploaded")
        self._json({})

    def lfs_get(self, oid):
        path = self.hub.large.path(oid)
        if not path.is_file():
            raise Refusal(404, "no such object")
        self._ranged(path.read_bytes(), ETag=f'"{oid}"')


def _folder(path: str) -> dict:
    return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}


def serve(root: Path) -> ThreadingHTTPServer:
    """A server on a free port of the loopback; not yet running."""
    Handler.hub, Handler.root = Hub(root), root
    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


if __name__ == "__main__":
    server = serve(Path(sys.argv[1]).resolve())
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
