"""npm's packages come from its registry and from nowhere else, whoever depends on them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from folkmoot.sandbox import installer as installing
from folkmoot.sandbox.installer import Installer, InstallFailed

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("npm") is None, reason="npm, and walls, which are Linux's"
)


def tarball(about: dict[str, Any]) -> bytes:
    """Return a package that has its description alone."""
    text, file = json.dumps(about).encode(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return gzip.compress(file.getvalue(), mtime=0)


@dataclass
class Registry:
    """A registry of packages, each in one version, that notes what it was asked for."""

    url: str = ""
    dependencies: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> bytes | None:
        """Return what stands at a path."""
        self.asked.append(path)
        name = path.removeprefix("/").removesuffix(".tgz").replace("%2f", "/")
        about = {"name": name, "version": "1.0.0", "dependencies": self.dependencies.get(name, {})}
        if name not in self.dependencies:
            return tarball(about) if path == "/elsewhere.tgz" else None
        packed = tarball(about)
        if path.endswith(".tgz"):
            return packed
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(packed).digest()).decode()
        dist = {"tarball": f"{self.url}/{name}.tgz", "integrity": integrity}
        return json.dumps(
            {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**about, "dist": dist}}}
        ).encode()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry that npm is sent to."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = registry.answer(self.path)
            self.send_response(200 if found is not None else 404)
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        registry.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("npm_config_registry", registry.url)
        yield registry
        server.shutdown()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository that is a package."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "package.json").write_text('{"name": "elsewhere", "version": "1.0.0"}')
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *command], check=True)
    return folder


async def install(folder: Path, package: str) -> Path:
    """Install a package into a new folder; return where packages stand."""
    folder.mkdir()
    await Installer(True).install("npm", [package], folder)
    return folder / "packages" / "node_modules"


async def test_what_depends_on_another_place_is_refused(
    registry: Registry, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.dependencies = {
        "good": {"@scope/alias": "npm:better@^1", "better": ">=1 || 2.x"},
        "better": {},
        "over": {"address": "1"},
        "address": {"elsewhere": f"{registry.url}/elsewhere.tgz"},
        "repository": {"elsewhere": f"git+file://{repository}"},
    }
    assert (await install(tmp_path / "good", "good") / "@scope" / "alias").is_dir()
    with pytest.raises(InstallFailed, match="only packages of npm's registry are installed"):
        await install(tmp_path / "refused", "over")
    assert "/address" in registry.asked and "/elsewhere.tgz" not in registry.asked
    monkeypatch.setattr(installing, "_FROM_REGISTRY", ())  # as with an older npm, which does not know of them
    with pytest.raises(InstallFailed, match=r"address depends on elsewhere at 'http://.*: only packages of npm's"):
        await install(tmp_path / "found", "over")
    assert "/elsewhere.tgz" in registry.asked
    with pytest.raises(InstallFailed, match="depends on one of another place: only packages of npm's registry"):
        await install(tmp_path / "without git", "repository")


@pytest.mark.parametrize(
    ("wanted", "is_taken"),
    [
        *((version, True) for version in ("^1.2 || 3.x", "", "latest", "1.0 - 2", "npm:ms@2", "npm:@scope/ms@^2")),
        *((place, False) for place in ("file:../x", "file:x.tgz", "git+ssh://git@host/x", "user/repo", "github:u/x")),
        *((place, False) for place in ("https://example.org/x.tgz", "npm:@scope/ms/../x", "link:/x", "npm:a:b", "~/x")),
    ],
)  # fmt: skip
def test_what_was_taken_from_another_place_is_seen(wanted: str, is_taken: bool, tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    about = {"packages": {"": {}, "node_modules/good": {"optionalDependencies": {"other": wanted}}}}
    (tmp_path / "node_modules" / ".package-lock.json").write_text(json.dumps(about))
    if is_taken:
        installing._check_origins(tmp_path)
    else:
        with pytest.raises(InstallFailed, match="good depends on other at"):
            installing._check_origins(tmp_path)
