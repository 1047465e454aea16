"""Four candidates and a short history, to be talked about; and a server that answers as one of a language model."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sidestep.data.labels import ItemLabels
from sidestep.llm.chat import Answer, Chat
from sidestep.rerankers.traces import Scene, executed

TITLES = ["Foam", "Silk", "Comb", "Gel", "Wax", "Oil", "Brush"]
CATEGORIES = ["shampoo", "conditioner", "comb", "shampoo", "wax", "conditioner", "comb"]
BRANDS = ["X", "X", "Y", "X", "Y", "X", "Y"]
LABELS = ItemLabels(CATEGORIES, BRANDS)
SIDS = ["<a_9><b_9>", "<a_0><b_1>", "<a_2><b_2>", "<a_9><b_8>", "<a_9><b_7>", "<a_0><b_1>", "<a_3><b_0>"]
HISTORY = [2, 3, 0]
CANDIDATES = [1, 2, 5, 6]


def scene(history: list[int], candidates: list[int]) -> Scene:
    def numbers(items: list[int]) -> dict[str, list[int]]:
        return {kind: getattr(LABELS, kind).of_item[items].tolist() for kind in ("leaf", "aisle", "brand")}

    after = LABELS.leaf.names.index("conditioner")
    return Scene(numbers(history), numbers(candidates), [0.9, 0.1, 0.5, 0.6], [1.0, 4.0, 3.0, 2.0], after)


SCENE = scene(HISTORY, CANDIDATES)
ANSWERS = [Answer("because", executed(rule, SCENE)) for rule in ("brand", "next", "popular", "keep")]


def chat(cite: str = "slot", knowledge: bool = True, traced: bool = True) -> Chat:
    return Chat(TITLES, LABELS, SIDS if cite == "sid" else None, knowledge, traced)


Reply = Callable[[dict[str, Any], int], tuple[int, str]]
"""From a request's body and its number to a status and a body."""


def said(text: str) -> str:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


@contextmanager
def server(reply: Reply) -> Iterator[tuple[str, list[tuple[str, dict[str, Any], str | None]]]]:
    """The address of a server, and what it has been asked: path, body and authorization."""
    asked: list[tuple[str, dict[str, Any], str | None]] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append((self.path, body, self.headers["Authorization"]))
                status, content = reply(body, len(asked) - 1)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1", asked
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
