"""What the container image does, by its own files: install, start as a user without rights, be healthy.

No image is built: where these tests run there is neither Docker nor its registry.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from folkmoot.serving import FAREWELL_SECONDS
from folkmoot.settings import Settings
from support.clients import plain_client
from support.polling import PATIENCE, until
from support.ports import free_port

ROOT = Path(__file__).parents[2]
PREFIX = "/opt/folkmoot"


def instructions() -> dict[str, str]:
    """Return the last instruction of each kind of the Dockerfile's last stage."""
    stage = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2].splitlines()[1:]
    return dict(line.split(" ", 1) for line in stage if not line.startswith("#"))


PACKAGES = Path(sysconfig.get_path("purelib"))
"""Where the tests' own packages are."""

FILLED = """#!/bin/sh
set -e
{python} "$@" --without-pip
echo {packages} > "$3"/{there}/tests.pth
printf '#!/bin/sh\\nexec "%s" -m pip "$@"\\n' "$3/bin/python" > "$3/bin/pip"
chmod +x "$3/bin/pip"
"""
"""Makes an environment which has the tests' packages, pip too, so that pip finds there what the lock names."""


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder into which the image's script has installed, and which everybody may read.

    Packages that the tests have are not brought and unpacked again, which takes a minute, but with `--thorough`.
    """
    folder = Path(tempfile.mkdtemp(prefix="folkmoot-installed-"))
    source = folder / "source"
    source.mkdir()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name in " ".join(copied).split():
        there = ROOT / name
        if there.is_dir():
            shutil.copytree(there, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(there, source / name)
    python = folder / "python"
    there = PACKAGES.relative_to(sys.prefix)
    python.write_text(FILLED.format(python=sys.executable, packages=PACKAGES, there=there))
    python.chmod(0o755)
    started = sys.executable if request.config.getoption("thorough") else str(python)
    quickly = {"PIP_NO_COMPILE": "1", "PYTHON": started}
    subprocess.run([source / "deploy" / "install.sh", folder / "opt"], check=True, env={**os.environ, **quickly})
    folder.chmod(0o755)
    yield folder / "opt"
    shutil.rmtree(folder)


def test_a_start_that_upgrades_may_take_minutes_before_the_image_counts_as_unhealthy() -> None:
    assert "--start-period=10m " in instructions()["HEALTHCHECK"]


def test_the_image_serves_as_a_user_without_rights_and_is_healthy(installed: Path) -> None:
    said = instructions()
    port, data = free_port(), Path(tempfile.mkdtemp(prefix="folkmoot-data-"))
    reached = all(map(_open_to_all, (Path(sys.executable).resolve(), PACKAGES)))
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 and reached else None
    if user is not None:
        shutil.chown(data, user.pw_uid, user.pw_gid)
    environ = dict(pair.split("=", 1) for pair in shlex.split(said["ENV"]))
    environ |= {"FOLKMOOT_DATA": str(data), "HOME": str(data), "FOLKMOOT_PORT": str(port), "PATH": os.environ["PATH"]}

    def command(instruction: str) -> list[str]:
        words: list[str] = json.loads(said[instruction].rpartition("CMD ")[2])
        return [word.replace(PREFIX, str(installed)).replace(":8283", f":{port}") for word in words]

    served = [*command("ENTRYPOINT"), *command("CMD")]
    options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}

    def start(**more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            served,
            cwd=data,
            env={**environ, **more},
            stderr=subprocess.PIPE,
            text=True,
            **options,  # type: ignore[call-overload]
        )

    closed = start()
    assert "there is no key" in closed.communicate(timeout=PATIENCE)[1], "a container is open to all, so it wants a key"
    server = start(FOLKMOOT_API_KEY="the key")
    try:
        until(lambda: server.poll() is not None or _answers(port))
        assert server.poll() is None, server.stderr.read() if server.stderr else ""
        assert subprocess.run(command("HEALTHCHECK"), check=False).returncode == 0
        with plain_client(f"http://127.0.0.1:{port}", headers={"authorization": "Bearer the key"}) as http:
            http.post("/v1/blocks", json={"label": "notes", "value": "kept"}).raise_for_status()
            assert http.get("/blocks").status_code == 200, "templates and static files are installed too"
            assert http.get("/static/style.css").status_code == 200
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE)
        kept = (data / "folkmoot.sqlite3").exists()
        shutil.rmtree(data)
    assert kept, "what it keeps is in the volume"
    assert subprocess.run(command("HEALTHCHECK"), check=False, capture_output=True).returncode != 0


def _open_to_all(place: Path) -> bool:
    """Tell whether others than its owner reach what is there: a Python in root's home is root's alone."""
    return all(folder.stat().st_mode & 0o001 for folder in place.parents)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/health").is_success
    except httpx.TransportError:
        return False


def test_the_unit_and_the_compose_file_start_what_is_installed() -> None:
    unit = (ROOT / "deploy" / "folkmoot.service").read_text()
    assert f"ExecStart={PREFIX}/bin/folkmoot serve" in unit
    assert json.loads(instructions()["ENTRYPOINT"]) == [f"{PREFIX}/bin/folkmoot"]
    pause = int(re.findall(r"^RestartSec=(\d+)$", unit, re.MULTILINE)[0])
    assert 4 * pause > 10, "systemd gives up after five starts in 10 s"
    compose = (ROOT / "compose.yaml").read_text()
    assert "FOLKMOOT_API_KEY: ${FOLKMOOT_API_KEY:?" in compose, "it does not start without a key"


def test_turns_that_are_under_way_may_finish_before_whoever_stops_the_server_kills_it() -> None:
    needed = Settings.model_fields["shutdown_wait"].default + FAREWELL_SECONDS
    places = {
        "compose.yaml": r"stop_grace_period: (\d+)s",
        "deploy/folkmoot.service": r"TimeoutStopSec=(\d+)",
        "docs/running.md": r"docker run .*--stop-timeout (\d+)",
    }
    for place, patience in places.items():
        found = re.search(patience, (ROOT / place).read_text())
        assert found is not None, place
        assert int(found[1]) > needed, place
