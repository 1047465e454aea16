"""Whatever is sent is answered in the documented shape, and an answer keeps every promise of its request."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.config import GenerationConfig, ProjectConfig, ProjectsConfig, SchemathesisConfig
from starlette.testclient import TestClient

FEW, MANY = 300, 10_000
"""Requests in the fast suite and in the slow one, over all routes together."""
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
AMOUNTS = [
    pytest.param(FEW, id="few"),
    pytest.param(MANY, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
]

IDS = [f"P{number:02}" for number in range(1, 49)]
STRANGE = ["", "P99", "../P01", "P01/../P02", "%2e%2e", "a\0b", "\ud800", "\u202e", "é" * 256, "x" * 257, "'; --", "🙂"]
TEXTS = st.one_of(st.sampled_from([*IDS, *STRANGE]), st.text(max_size=40))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)

# Types are checked by samples, in the server's threads, too; hypothesis takes these draws for a strategy's.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")


@pytest.fixture(scope="module")
def document(shop: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = shop.get("/openapi.json").json()
    return found


def well_answered(document: dict[str, Any], path: str, method: str, response: Any) -> None:
    """No error of ours, one shape for every error, and what the document says of an answer."""
    status = response.status_code
    assert status < 500 or status == 503, (status, response.text)
    if status == 503 and path != "/readyz":
        assert int(response.headers["Retry-After"]) >= 1
    assert "content-security-policy" in response.headers
    if method.upper() == "HEAD":
        return
    if status >= 400 and not (status == 503 and path == "/readyz"):
        error = response.json()["error"]
        assert set(error) == {"code", "message"}
        assert error["message"]
    told = document["paths"].get(path, {}).get(method.lower(), {}).get("responses", {}).get(str(status))
    if told is not None:
        schema = told["content"]["application/json"]["schema"]
        Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())


def every_operation(document: dict[str, Any]) -> list[Any]:
    generation = GenerationConfig(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    config = SchemathesisConfig(projects=ProjectsConfig(default=ProjectConfig(generation=generation)))
    schema = schemathesis.openapi.from_dict(document, config=config)
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("amount", AMOUNTS)
def test_every_route_answers_whatever_its_schema_allows_or_forbids(
    shop: TestClient, document: dict[str, Any], amount: int
) -> None:
    operations = [found for found in every_operation(document) if "/admin/" not in found.path]
    assert len(operations) >= 14
    answered = sum(fuzzed(shop, document, operation, amount // len(operations)) for operation in operations)
    assert answered > amount // 2


def fuzzed(client: TestClient, document: dict[str, Any], operation: Any, amount: int) -> int:
    """How many requests of one operation could be sent; every one was answered well."""
    answered = 0
    modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @settings(max_examples=amount, deadline=None, suppress_health_check=QUIET, derandomize=True)
    @given(st.one_of(modes))
    def send(case: Any) -> None:
        nonlocal answered
        response = as_sent(client, case)
        if response is not None:
            well_answered(document, operation.path, operation.method, response)
            answered += 1

    send()
    return answered


def as_sent(client: TestClient, case: Any) -> Any:
    """The response to a case; None where it cannot be put on the wire at all."""
    words = case.as_transport_kwargs(base_url="http://testserver")
    words = {name: value for name, value in words.items() if name in ("method", "url", "params", "json", "data")}
    if "data" in words:
        words["content"] = words.pop("data")
    elif "json" in words:
        words["content"] = json.dumps(words.pop("json")).encode()
    headers = {"content-type": case.media_type or "application/json"}
    try:
        return client.request(**words, headers=headers)
    except (UnicodeEncodeError, ValueError, TypeError):
        return None


@pytest.mark.parametrize("amount", AMOUNTS)
def test_any_bytes_are_answered(shop: TestClient, document: dict[str, Any], amount: int) -> None:
    kinds = st.sampled_from(
        ["application/json", "text/plain", "application/x-www-form-urlencoded", "", "a/b; charset=x"]
    )
    routes = st.sampled_from(["/v1/recommend", "/v1/recommend:batch", "/v1/events"])
    keyed = st.dictionaries(st.sampled_from(["history", "k", "filters", "requests", "events", "model"]), JSON)
    bodies = st.one_of(
        st.binary(max_size=200),
        JSON.map(lambda value: json.dumps(value).encode()),
        keyed.map(lambda value: json.dumps(value).encode()),
        st.integers(1, 3_000).map(lambda depth: b"[" * depth + b"]" * depth),
        st.sampled_from([b"", b"{", b"nul", b'{"k": 1, "k": 2}', b'{"k": 1e400}', b'{"k": NaN}']),
        st.integers(1, 5_000).map(lambda digits: b'{"k":' + b"9" * digits + b"}"),
    )

    @settings(max_examples=amount, deadline=None, suppress_health_check=QUIET, derandomize=True)
    @given(routes, bodies, kinds)
    def send(route: str, body: bytes, kind: str) -> None:
        well_answered(document, route, "post", shop.post(route, content=body, headers={"content-type": kind}))

    send()


@pytest.mark.parametrize("path", ["/v1/items/", "/v1/semantic-ids/", "/v1/users/", "/v1/", "/assets/", "/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "POST", "TRACE"])
def test_any_path_is_answered(shop: TestClient, document: dict[str, Any], path: str, method: str) -> None:
    for rest in (
        "",
        "P01",
        "%2e%2e%2fP01",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%ff",
        "a" * 300,
        "é",
        "a/b",
        "index.html",
    ):
        well_answered(document, "", method, shop.request(method, f"{path}{rest}"))


def test_paths_never_leave_the_page(shop: TestClient) -> None:
    for rest in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "....//app.py", "page.css/../../app.py"):
        assert shop.get(f"/assets/{rest}").status_code == 404


@st.composite
def requests(draw: Callable[..., Any], categories: list[str]) -> dict[str, Any]:
    """Requests that are understood, with every mixture of filters."""
    some = st.lists(st.sampled_from(IDS), max_size=30)
    asked: dict[str, Any] = {"history": draw(st.lists(st.sampled_from([*IDS, "nobody"]), max_size=30))}
    asked["k"] = draw(st.integers(1, 60))
    asked["explain"] = draw(st.booleans())
    filters: dict[str, Any] = {"exclude_seen": draw(st.booleans()), "deny": draw(some)}
    if draw(st.booleans()):
        filters["allow"] = draw(some)
    if draw(st.booleans()):
        filters["categories"] = draw(st.lists(st.sampled_from(categories), max_size=3))
    return {**asked, "filters": filters}


@pytest.mark.parametrize(
    "amount", [pytest.param(150, id="few"), pytest.param(3_000, id="many", marks=pytest.mark.slow)]
)
def test_an_answer_holds_the_permitted_items_and_as_many_as_there_are(shop: TestClient, amount: int) -> None:
    category = {item: shop.get(f"/v1/items/{item}").json()["category"] for item in IDS}
    names = [each["name"] for each in shop.get("/v1/categories").json()["categories"]]

    @settings(max_examples=amount, deadline=None, suppress_health_check=QUIET, derandomize=True)
    @given(requests(names))
    def send(asked: dict[str, Any]) -> None:
        filters = asked["filters"]
        permitted = set(IDS) - set(filters["deny"]) - (set(asked["history"]) if filters["exclude_seen"] else set())
        permitted &= set(filters.get("allow", IDS))
        if "categories" in filters:
            under = tuple(f"{name} > " for name in filters["categories"])
            permitted = {item for item in permitted if f"{category[item]} > ".startswith(under)}
        answer = shop.post("/v1/recommend", json=asked).json()
        given_items = [each["item_id"] for each in answer["recommendations"]]
        assert len(set(given_items)) == len(given_items) == min(asked["k"], len(permitted))
        assert set(given_items) <= permitted
        assert answer["unknown"] == ["nobody"] * ("nobody" in asked["history"])
        scores = [each["score"] for each in answer["recommendations"]]
        assert scores == sorted(scores, reverse=True)

    send()
