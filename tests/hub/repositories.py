"""What the loopback hub keeps: bare git repositories, and the large files beside them by their hash."""

import hashlib
import json
import os
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

LARGE_SUFFIXES = (".safetensors", ".parquet", ".arrow", ".npz", ".bin", ".glb", ".onnx")
LARGE_BYTES = 10_000_000
_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
_WHO = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "hub"), ("EMAIL", "hub@localhost"))
}


@dataclass
class File:
    """A file of a commit; `oid` is git's, `sha256` and `size` are those of the content where it is a large one."""

    path: str
    oid: str
    size: int
    sha256: str | None = None
    pointer_size: int = 0

    def as_json(self) -> dict:
        entry = {"type": "file", "path": self.path, "oid": self.oid, "size": self.size}
        if self.sha256:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": self.pointer_size}
        return entry


class LargeFiles:
    """A store by SHA-256; what is in it is whole."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self.folder / Path(sha256).name

    def put(self, sha256: str, content: bytes) -> bool:
        if hashlib.sha256(content).hexdigest() != sha256:
            return False
        aside = self.folder / f".{sha256}-{threading.get_ident()}"
        aside.write_bytes(content)
        os.replace(aside, self.path(sha256))
        return True


class Repository:
    """A bare git repository of one kind ("models", "datasets", "spaces") and name ("owner/name")."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path, private: bool, sdk: str | None) -> "Repository":
        folder.mkdir(parents=True)
        repository = cls(folder)
        repository._git("init", "--quiet", "--bare", "--initial-branch=main", ".")
        (folder / "hub.json").write_text(json.dumps({"private": private, "sdk": sdk}))
        attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE_SUFFIXES)
        repository.commit("main", "initial commit", {".gitattributes": attributes.encode()}, [])
        return repository

    @property
    def settings(self) -> dict:
        return json.loads((self.folder / "hub.json").read_text())

    def _git(self, *arguments: str, input: bytes = b"", **environment: str) -> bytes:
        return subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            input=input,
            capture_output=True,
            check=True,
            env={**os.environ, **_WHO, "GIT_DIR": str(self.folder), **environment},
        ).stdout

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a (short) hash."""
        try:
            return (
                self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
                .decode()
                .strip()
            )
        except subprocess.CalledProcessError:
            return None

    def refs(self, kind: str) -> dict[str, str]:
        lines = self._git("for-each-ref", f"refs/{kind}", "--format=%(refname:lstrip=2) %(objectname)").decode()
        return dict(line.split() for line in lines.splitlines())

    def set_ref(self, kind: str, name: str, commit: str) -> None:
        self._git("update-ref", f"refs/{kind}/{name}", commit)

    def log(self, revision: str) -> list[tuple[str, str]]:
        """(hash, subject), newest first."""
        lines = self._git("log", "--format=%H %s", revision).decode().splitlines()
        return [tuple(line.split(" ", 1)) for line in lines]

    def files(self, commit: str) -> dict[str, File]:
        files = {}
        for line in self._git("ls-tree", "-r", "-l", "-z", commit).decode().split("\0")[:-1]:
            about, path = line.split("\t", 1)
            _, _, oid, size = about.split()
            files[path] = self._file(path, oid, int(size))
        return files

    def _file(self, path: str, oid: str, size: int) -> File:
        text = self.content(oid) if size < 200 else b""
        if not text.startswith(b"version https://git-lfs"):
            return File(path, oid, size)
        fields = dict(line.split(" ", 1) for line in text.decode().splitlines())
        return File(path, oid, int(fields["size"]), fields["oid"].removeprefix("sha256:"), size)

    def content(self, oid: str) -> bytes:
        return self._git("cat-file", "blob", oid)

    def commit(self, branch: str, message: str, contents: dict[str, bytes], deleted: list[str]) -> str:
        """Write a commit onto `branch`; a path that ends in / is deleted as a folder. Nobody sees half of one."""
        with self.lock:
            head = self.resolve(f"refs/heads/{branch}")
            index = {"GIT_INDEX_FILE": str(self.folder / "hub-index")}
            self._git("read-tree", *([head] if head else ["--empty"]), **index)
            there = self.files(head) if head else {}
            gone = [path for path in there if any(f"{path}/".startswith(f"{name.rstrip('/')}/") for name in deleted)]
            lines = [f"0 {'0' * 40}\t{path}" for path in gone]
            for path, content in contents.items():
                oid = self._git("hash-object", "-w", "--stdin", input=content).decode().strip()
                lines.append(f"100644 {oid}\t{path}")
            self._git("update-index", "--index-info", input="".join(f"{x}\n" for x in lines).encode(), **index)
            tree = self._git("write-tree", **index).decode().strip()
            new = self._git("commit-tree", tree, *(["-p", head] if head else []), "-m", message).decode().strip()
            self._git("update-ref", f"refs/heads/{branch}", new, head or "")
            return new


class Hub:
    """All repositories, the large files and who may write."""

    def __init__(self, root: Path):
        self.root = root
        self.large = LargeFiles(root / "lfs")
        self._open: dict[tuple[str, str], Repository] = {}

    @staticmethod
    def user(token: str | None) -> str | None:
        """The user of a token `hf_NAME_secret`; None for any other."""
        parts = (token or "").split("_")
        return parts[1] if len(parts) == 3 and parts[0] == "hf" and parts[2] == "secret" else None

    def repository(self, kind: str, name: str) -> Repository | None:
        folder = self.root / kind / f"{name}.git"
        if not folder.is_dir():
            return None
        return self._open.setdefault((kind, name), Repository(folder))

    def create(self, kind: str, name: str, private: bool, sdk: str | None) -> None:
        self._open[kind, name] = Repository.create(self.root / kind / f"{name}.git", private, sdk)

    def delete(self, kind: str, name: str) -> None:
        self._open.pop((kind, name), None)
        shutil.rmtree(self.root / kind / f"{name}.git")

    def commit(self, repository: Repository, branch: str, operations: list[dict], decode) -> str:
        """Carry out the lines of a commit request.

        Raises:
            ValueError: a large file was never uploaded.
        """
        message, contents, deleted = "commit", {}, []
        for operation in operations:
            key, value = operation["key"], operation["value"]
            if key == "header":
                message = value["summary"]
            elif key == "file":
                contents[value["path"]] = decode(value["content"])
            elif key == "lfsFile":
                stored = self.large.path(value["oid"])
                if not stored.is_file():
                    raise ValueError(f"LFS pointer points to a file that does not exist: {value['path']}")
                contents[value["path"]] = _POINTER.format(oid=value["oid"], size=stored.stat().st_size).encode()
            else:
                deleted.append(value["path"])
        return repository.commit(branch, message, contents, deleted)
