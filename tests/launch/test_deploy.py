"""The files of `deploy/`, as far as a machine without Docker and Kubernetes can tell: their commands are ours, their
paths exist, their probes are routes, and nothing runs as root or writes where it must not.
"""

import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from sidestep.cli import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
(POD,) = [each["spec"]["template"]["spec"] for each in OBJECTS if each["kind"] == "Deployment"]
(CONTAINER,) = POD["containers"]


def service() -> dict[str, list[str]]:
    """The unit's lines: key -> values."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "sidestep.service").read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def instruction(name: str) -> list[str]:
    """The words of a Dockerfile's last instruction in its JSON form."""
    words: list[str] = json.loads(re.findall(rf"{name} (\[.*\])", DOCKERFILE)[-1])
    return words


COMMANDS = {
    "Dockerfile": instruction("ENTRYPOINT")[1:] + instruction("CMD"),
    "compose": COMPOSE["services"]["sidestep"]["command"],
    "kubernetes": CONTAINER["args"],
    "systemd": service()["ExecStart"][0].split()[1:],
}


@pytest.mark.parametrize("where", COMMANDS)
def test_every_command_is_one_of_ours(where: str) -> None:
    verb, *words = COMMANDS[where]
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    context = command.make_context(verb, list(words))
    assert context.params["host"] == "0.0.0.0"
    assert context.params["port"] == 8000
    assert str(context.params["bundles"][0]).endswith("bundle")
    assert context.params["histories"]


def test_what_the_image_is_made_of_exists() -> None:
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    (extras,) = re.findall(r"/build\[([\w,-]+)\]", DOCKERFILE)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()
    assert CONTAINER["image"].endswith(f":{PROJECT['version']}")
    assert (DEPLOY / COMPOSE["services"]["sidestep"]["build"]["context"] / "deploy" / "Dockerfile").samefile(
        DEPLOY / "Dockerfile"
    )


def test_nothing_runs_as_root_or_writes_in_its_image() -> None:
    assert re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE) == [str(POD["securityContext"]["runAsUser"])]
    assert POD["securityContext"]["runAsNonRoot"]
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]
    assert not CONTAINER["securityContext"]["allowPrivilegeEscalation"]
    assert COMPOSE["services"]["sidestep"]["read_only"]
    assert "/tmp" in COMPOSE["services"]["sidestep"]["tmpfs"]
    assert service()["DynamicUser"] == ["yes"]
    assert service()["ProtectSystem"] == ["strict"]
    for mount in CONTAINER["volumeMounts"]:
        assert mount["name"] in {volume["name"] for volume in POD["volumes"]}
        assert mount.get("readOnly") or mount["mountPath"] == "/tmp"


def test_probes_ask_routes_of_the_server_at_its_port() -> None:
    served = (ROOT / "src" / "sidestep" / "serving" / "app.py").read_text()
    served += "".join(path.read_text() for path in (ROOT / "src" / "sidestep" / "serving").glob("*.py"))
    (port,) = CONTAINER["ports"]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = CONTAINER[name]["httpGet"]
        assert f'"{probe["path"]}"' in served
        assert probe["port"] == port["name"]
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/healthz"  # /readyz fails while a model is replaced
    labels = {"app": "sidestep"}
    for each in OBJECTS:
        selector = each["spec"].get("selector", labels)
        assert selector.get("matchLabels", selector) == labels


def test_secrets_come_from_outside() -> None:
    assert all("secretKeyRef" in each["valueFrom"] for each in CONTAINER["env"])
    assert COMPOSE["services"]["sidestep"]["environment"]["SIDESTEP_API_KEY"].startswith("${SIDESTEP_API_KEY:?")
    assert "KEY=" not in "\n".join(service()["Environment"])


@pytest.fixture
def readiness() -> Iterator[list[int]]:
    """A server at port 8000 that answers with the status in the list."""
    status = [200]

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0] if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    try:
        server = HTTPServer(("127.0.0.1", 0), Ready)
    except OSError as error:
        pytest.skip(f"no socket here: {error}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    status.append(server.server_port)
    yield status
    server.shutdown()
    server.server_close()


def test_the_image_is_healthy_while_the_server_is_ready(readiness: list[int]) -> None:
    words: list[str] = json.loads(re.findall(r"HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.DOTALL | re.MULTILINE)[0])
    check = [sys.executable, *(word.replace("8000", str(readiness[1])) for word in words[1:])]
    assert subprocess.run(check, capture_output=True).returncode == 0
    readiness[0] = 503
    assert subprocess.run(check, capture_output=True).returncode != 0


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "sidestep.service"
    unit.write_text((DEPLOY / "sidestep.service").read_text().replace("/opt/sidestep/bin/sidestep", sys.executable))
    told = subprocess.run([verify, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    ours = [line for line in (told.stdout + told.stderr).splitlines() if "sidestep.service" in line]
    assert not ours, ours
