"""`sidestep serve` as its operator has it: signals, reloads, a killed model, clients that leave, and what is logged.

These are processes, whose clock nobody can turn: no law here depends on how fast they are. What deadlines, patience and
hanging models do is tested in virtual time (`test_batcher.py`).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from command import refuse
from sidestep.pipeline.exporting import export
from sidestep.pipeline.run import Run

SECONDS = 120.0
"""How long anything may take on a machine that is busy."""
HANG_SECONDS = 10 * SECONDS
"""No model is taken for one that hangs because the machine is busy."""
SECRET, ADMIN = "sesame-7731", "simsim-9152"

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the model's process by /proc")


class Standing:
    """A running `sidestep serve`, and every line that it has said."""

    def __init__(self, *words: object) -> None:
        program = [sys.executable, "-m", "sidestep", "serve", *map(str, words)]
        keys = {"SIDESTEP_API_KEY": SECRET, "SIDESTEP_ADMIN_KEY": ADMIN}
        self.process = subprocess.Popen(
            [*program, "--port", "0", "--hang-seconds", str(HANG_SECONDS)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **keys},
            start_new_session=True,
        )
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        (line,) = self.wait_for(lambda: [line for line in self.said if "Sidestep answers at" in line])
        self.url = line.split(" at ")[1].split()[0]
        self.client = httpx.Client(base_url=self.url, headers={"X-API-Key": SECRET}, timeout=SECONDS)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said.append(line.decode().rstrip("\n"))

    def wait_for(self, found: Callable[[], Any]) -> Any:
        until = time.monotonic() + SECONDS
        while not (value := found()):
            assert time.monotonic() < until, self.said[-20:]
            assert self.process.poll() is None, self.said[-20:]
            time.sleep(0.05)
        return value

    def recommend(self) -> httpx.Response:
        return self.client.post("/v1/recommend", json={"history": ["P01", "P02"], "deadline_ms": 60_000})

    def bundle(self) -> str:
        found: str = self.client.get("/v1/models").json()["models"][0]["bundle"]
        return found

    def model_process(self) -> int:
        """The child that holds the model; others only track resources."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        raise AssertionError("no child of the server holds a model")

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said if not line.startswith("Sidestep answers")]

    def stop(self) -> int:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A bundle that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "shop"))


@pytest.fixture(scope="module")
def shared(exported: Path) -> Iterator[Standing]:
    """A server that a test leaves as it was."""
    server = Standing(f"shop={exported}")
    yield server
    assert server.stop() == 0


@pytest.fixture
def standing(folder: Path) -> Iterator[Standing]:
    server = Standing(f"shop={folder}")
    yield server
    if server.process.poll() is None:
        server.stop()


def test_a_reload_goes_over_to_what_lies_there_and_stays_where_that_is_broken(
    standing: Standing, folder: Path, finished: Path
) -> None:
    first, answer, admin = standing.bundle(), standing.recommend().json(), {"X-API-Key": ADMIN}
    model = (folder / "model.safetensors").read_bytes()
    (folder / "half").write_bytes(model[: len(model) // 2])
    (folder / "half").replace(folder / "model.safetensors")
    broken = standing.client.post("/v1/admin/reload", headers=admin)
    assert broken.status_code == 500
    assert len(broken.json()["error"]["message"].splitlines()) == 1
    standing.process.send_signal(signal.SIGHUP)
    standing.wait_for(lambda: [line for line in standing.logged() if "not reloaded" in line["message"]])
    assert (standing.bundle(), standing.recommend().json()) == (first, answer)

    shutil.rmtree(folder)
    export(Run.open(finished), folder, ["title"])
    assert standing.client.post("/v1/admin/reload", headers=admin).status_code == 200
    second = standing.bundle()
    assert second != first
    assert standing.recommend().json()["recommendations"]  # other fields, the same model
    shutil.rmtree(folder)
    export(Run.open(finished), folder)
    standing.process.send_signal(signal.SIGHUP)
    standing.wait_for(lambda: standing.bundle() == first)
    assert standing.recommend().json() == answer


def test_a_killed_model_comes_back_and_meanwhile_only_503_is_said(shared: Standing) -> None:
    answer, killed = shared.recommend().json(), shared.model_process()
    os.kill(killed, signal.SIGKILL)
    seen: list[int] = []

    def back() -> bool:
        response = shared.recommend()
        seen.append(response.status_code)
        if response.status_code == 503:
            assert int(response.headers["Retry-After"]) >= 1
        return response.status_code == 200

    shared.wait_for(back)
    assert set(seen) <= {200, 503}
    assert shared.recommend().json() == answer
    assert shared.model_process() != killed
    assert 'sidestep_process_restarts{model="shop"} 1.0' in shared.client.get("/metrics").text
    assert [line for line in shared.logged() if "starting a new one" in line["message"]]
    shared.wait_for(lambda: shared.client.get("/readyz").status_code == 200)


@pytest.mark.slow
def test_a_model_that_died_after_an_export_gives_way_to_what_lies_there_now(
    standing: Standing, folder: Path, finished: Path
) -> None:
    first, answer = standing.bundle(), standing.recommend().json()["recommendations"]
    shutil.rmtree(folder)
    export(Run.open(finished), folder, ["title"])
    os.kill(standing.model_process(), signal.SIGKILL)
    standing.wait_for(lambda: standing.bundle() != first)
    standing.wait_for(lambda: standing.recommend().status_code == 200)
    scores = [each["score"] for each in standing.recommend().json()["recommendations"]]
    assert scores == pytest.approx([each["score"] for each in answer], abs=1e-5)
    assert standing.stop() == 0


def test_a_model_that_hangs_does_not_keep_the_server_from_stopping(standing: Standing) -> None:
    os.kill(standing.model_process(), signal.SIGSTOP)
    hung = standing.client.post("/v1/recommend", json={"history": ["P01"], "deadline_ms": 500})
    assert hung.status_code == 503
    assert standing.stop() == 0


def test_the_process_that_speaks_http_has_no_torch(shared: Standing) -> None:
    assert "libtorch" not in Path(f"/proc/{shared.process.pid}/maps").read_text()
    assert "libtorch" in Path(f"/proc/{shared.model_process()}/maps").read_text()


def test_clients_that_leave_in_the_middle_leave_nothing_behind(shared: Standing) -> None:
    host, port = shared.url.removeprefix("http://").split(":")
    head = f"POST /v1/recommend HTTP/1.1\r\nHost: x\r\nX-API-Key: {SECRET}\r\nContent-Type: application/json\r\n"
    starts = [
        "POST /v1/recomm",
        head,
        f'{head}Content-Length: 900\r\n\r\n{{"history": ["P0',
        f'{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"hi',
        f"{head}Content-Length: 20\r\n\r\n" + '{"history": ["P01"]}',
        f"{head}Content-Length: -1\r\n\r\n{{}}",
        "\x00\x01\x02" * 50,
        "GET / HTTP/9.9\r\n\r\n",
    ]
    for _ in range(5):
        for start in starts:
            with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
                client.sendall(start.encode("latin-1"))
    assert shared.recommend().status_code == 200
    shared.wait_for(lambda: 'sidestep_queue_rows{model="shop"} 0.0' in shared.client.get("/metrics").text)
    assert not [line for line in shared.logged() if "traceback" in line]


def test_the_log_is_json_a_line_for_every_request_and_names_nobody(shared: Standing) -> None:
    ours = {"X-Request-Id": "of-this-test"}  # lines of requests before may still be on their way
    shared.client.post(
        "/v1/recommend", json={"history": ["P01", "history-of-somebody"], "deadline_ms": 60_000}, headers=ours
    )
    shared.client.get("/v1/items/P07", headers=ours)
    shared.client.get("/v1/users/user-of-ours", headers=ours)
    shared.client.get("/v1/items?query=wanted-in-secret", headers=ours)
    shared.client.get("/v1/sets", headers={"X-API-Key": "another-wrong-key", **ours})
    shared.client.post("/v1/recommend", content=b'{"history": "body-of-somebody', headers=ours)

    def requests() -> list[dict[str, Any]]:
        return [line for line in shared.logged() if line.get("request_id") == ours["X-Request-Id"]]

    shared.wait_for(lambda: len(requests()) >= 6)
    routes = ["/v1/recommend", "/v1/items/{item_id:path}", "/v1/users/{user_id:path}", "/v1/items", "none"]
    assert [line["route"] for line in requests()] == [*routes, "/v1/recommend"]
    assert [line["status"] for line in requests()] == [200, 200, 404, 200, 401, 422]
    assert {line["message"] for line in requests()} == {"request"}
    for told in ("somebody", "P07", "user-of-ours", "wanted", "wrong-key", SECRET, ADMIN):
        assert not [line for line in shared.said if told in line]


def test_told_to_stop_it_answers_what_it_has_let_in_and_frees_its_port(standing: Standing) -> None:
    answered: list[httpx.Response] = []
    asked = {"requests": [{"history": ["P01"], "k": 40, "explain": True, "deadline_ms": 60_000}] * 16}

    def ask() -> None:
        answered.append(standing.client.post("/v1/recommend:batch", json=asked))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    inside = 'sidestep_queue_rows{model="shop"} 0.0'
    standing.wait_for(lambda: inside not in standing.client.get("/metrics").text or len(answered) == 4)
    os.killpg(standing.process.pid, signal.SIGTERM)  # as systemd does: to the models, too
    for each in asking:
        each.join(SECONDS)
    assert standing.process.wait(SECONDS) == 0
    assert len(answered) == 4
    assert [each.status_code for each in answered].count(200) >= 1
    late = [each.json()["error"]["message"] for each in answered if each.status_code != 200]
    assert all("starting or stopping" in message for message in late)  # none that was let in was lost
    host, port = standing.url.removeprefix("http://").split(":")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that were closed linger
        again.bind((host, int(port)))


def test_an_operators_mistake_is_one_line(exported: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refuse("serve", exported, "--port", taken.getsockname()[1])
    assert "Address already in use; choose another --port" in said
    assert "make one with `sidestep export" in refuse("serve", tmp_path)
    assert "no-such-file" in refuse("serve", exported, "--api-key-file", tmp_path / "no-such-file")
    assert "Cannot read the set 'stock'" in refuse(
        "serve", exported, "--set", f"stock={tmp_path / 'no-list'}", "--port", 0
    )
    assert "a second" in refuse("serve", exported, exported)
