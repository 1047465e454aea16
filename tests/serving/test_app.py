"""What clients are answered: the library's answers, the catalogue's cards, and one sentence for every mistake."""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient

import sidestep
from sidestep.pipeline.answering import Answering
from sidestep.recommenders.trained import TrainedModel
from sidestep.serving.app import make_app
from sidestep.serving.door import Door
from sidestep.serving.settings import Settings
from sidestep.serving.shelf import plainly


@pytest.fixture(scope="module")
def model(exported: Path) -> TrainedModel:
    return sidestep.load(exported)


def ask(client: TestClient, **asked: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, status: int, **asked: Any) -> str:
    answer = client.post("/v1/recommend", json=asked)
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["item_id"] for each in answer["recommendations"]]


def test_an_answer_is_the_librarys(shop: TestClient, model: TrainedModel) -> None:
    item_ids = model.catalog.item_ids
    for history in (item_ids[:1], item_ids[5:12], item_ids[::3]):
        told, found = ask(shop, history=history, k=6, explain=True), model.recommend(history, 6, explain=True)
        assert ids(told) == found.item_ids
        for mine, yours in zip(told["recommendations"], found.recommendations, strict=True):
            assert mine["score"] == pytest.approx(yours.score, abs=1e-5)
            assert mine["title"] == yours.title
            assert [step["code"] for step in mine["path"]] == [each.code for each in yours.path or []]
            for step, same in zip(mine["path"], yours.path or [], strict=True):
                assert [(each["name"], pytest.approx(each["probability"], abs=1e-5)) for each in step["thought"]] == [
                    (each.name, each.probability) for each in same.clusters
                ]
                held = None if same.thinks_of is None else same.thinks_of.as_json()
                if held is not None:
                    held["probability"] = pytest.approx(held["probability"], abs=1e-5)
                assert step["thinks_of"] == held
                assert (step["name"], step["num_items"]) == (same.name, same.num_items)


def test_a_path_narrows_to_its_item(shop: TestClient) -> None:
    for each in ask(shop, history=["P01"], explain=True)["recommendations"]:
        counts = [step["num_items"] for step in each["path"]]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] >= 1
        assert all(0 < step["probability"] <= 1 for step in each["path"])
        codes = shop.get(f"/v1/items/{each['item_id']}").json()["semantic_id"]
        assert codes == [step["code"] for step in each["path"]]


def test_an_empty_history_is_answered_by_popularity_and_says_so(shop: TestClient) -> None:
    for asked in ({}, {"history": []}, {"history": ["nobody knows"]}, {"user_id": "a stranger"}):
        told = ask(shop, **asked)
        assert told["by"] == "popularity"
        popular = [card["item_id"] for card in shop.get("/v1/items?limit=10").json()["items"]]
        assert ids(told) == popular


def test_unknown_items_are_skipped_and_named(shop: TestClient) -> None:
    told = ask(shop, history=["P01", "x", "P02", "x"], filters={"deny": ["y"], "allow": ["P07", "z"]})
    assert told["unknown"] == ["x", "y", "z"]
    assert [card["item_id"] for card in told["history"]] == ["P01", "P02"]
    assert ids(told) == ["P07"]


def test_times_put_a_history_into_its_order(shop: TestClient) -> None:
    later = [{"item_id": "P09", "time": 20}, {"item_id": "P03", "time": 10}]
    assert ask(shop, history=later)["recommendations"] == ask(shop, history=["P03", "P09"])["recommendations"]


def test_a_model_that_reads_no_times_answers_the_same_with_them(shop: TestClient) -> None:
    plain = ask(shop, history=["P03", "P09"])
    for at in ("2026-11-28T20:15", "2026-11-28T20:15+01:00", 1_795_896_900_000, "1795896900000", None):
        assert ask(shop, history=["P03", "P09"], at=at) == plain
    info = shop.get("/v1/models").json()["models"][0]
    assert info["reads"] == {"recent": info["max_history"], "long": 0, "times": False}


def test_seen_items_come_back_only_where_they_are_wanted(shop: TestClient, model: TrainedModel) -> None:
    history = model.catalog.item_ids[:20]
    assert not set(ids(ask(shop, history=history, k=28))) & set(history)
    kept = ask(shop, history=history, k=48, filters={"exclude_seen": False})
    assert sorted(ids(kept)) == sorted(model.catalog.item_ids)


def test_categories_hold_their_branches_and_widen_each_other(shop: TestClient, model: TrainedModel) -> None:
    told = {each["name"]: each["num_items"] for each in shop.get("/v1/categories").json()["categories"]}
    tops = [name for name in told if " > " not in name]
    assert sum(told[name] for name in tops) == len(model.catalog)
    for some in ([tops[0]], tops, [name for name in told if " > " in name][:1]):
        answer = ask(shop, history=["P01"], k=48, filters={"categories": some, "exclude_seen": False})
        assert len(answer["recommendations"]) == sum(told[name] for name in some)
        assert all(any(each["category"].startswith(name) for name in some) for each in answer["recommendations"])
    assert ask(shop, history=["P01"], filters={"categories": []})["recommendations"] == []
    assert "GET /v1/categories" in refused(shop, 422, filters={"categories": ["Fish"]})


def test_requests_of_a_batch_are_answered_as_each_alone(shop: TestClient) -> None:
    asked = [
        {"history": ["P01"], "k": 3},
        {"history": ["P02", "P03"], "k": 5, "explain": True, "model": "twin"},
        {},
        {"history": ["P02"], "filters": {"allow": ["P05", "P06"]}},
        {"history": ["P04"], "beams": 3, "k": 2},
    ]
    told = shop.post("/v1/recommend:batch", json={"requests": asked}).json()["responses"]
    for together, each in zip(told, asked, strict=True):
        alone = ask(shop, **each)
        assert ids(together) == ids(alone)
        for one, other in zip(together["recommendations"], alone["recommendations"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)


def test_models_are_named_and_the_first_answers_where_none_is(shop: TestClient, exported: Path) -> None:
    told = shop.get("/v1/models").json()
    assert [each["name"] for each in told["models"]] == ["shop", "twin"]
    assert told["default"] == "shop"
    assert told["models"][0]["thinks"]
    assert told["models"][0]["num_items"] == 48
    assert ask(shop, model="twin")["model"] == "twin"
    assert "did you mean 'twin'" in refused(shop, 422, model="twim")


def test_the_tree_holds_every_item_once_at_its_path(shop: TestClient, model: TrainedModel) -> None:
    found: dict[str, list[int]] = {}

    def walk(prefix: list[int]) -> int:
        node = shop.get("/v1/tree", params={"prefix": ".".join(map(str, prefix))}).json()
        assert node["prefix"] == prefix
        for card in node["items"]:
            found[card["item_id"]] = prefix
        below = [walk([*prefix, child["code"]]) for child in node["children"]]
        assert below == [child["num_items"] for child in node["children"]] == sorted(below, reverse=True)
        assert node["num_items"] == (sum(below) if below else len(node["items"]))
        return node["num_items"]

    assert walk([]) == 48
    assert model.sids is not None
    codes = model.sids.codes.tolist()
    assert found == {item_id: codes[item] for item, item_id in enumerate(model.catalog.item_ids)}


def test_neighbours_share_the_longest_prefix_first(shop: TestClient, model: TrainedModel) -> None:
    assert model.sids is not None
    codes = dict(zip(model.catalog.item_ids, model.sids.codes.tolist(), strict=True))

    def shared(one: str, other: str) -> int:
        same = [a == b for a, b in zip(codes[one], codes[other], strict=True)]
        return (*same, False).index(False)

    for item_id in model.catalog.item_ids[:8]:
        told = shop.get(f"/v1/semantic-ids/{item_id}?limit=1000").json()
        assert told["semantic_id"] == codes[item_id]
        lengths = [each["shared"] for each in told["neighbours"]]
        assert lengths == sorted(lengths, reverse=True)
        others = {other: shared(item_id, other) for other in codes if other != item_id and shared(item_id, other)}
        assert {each["item_id"]: each["shared"] for each in told["neighbours"]} == others


def test_search_finds_every_word_the_most_popular_first(shop: TestClient, model: TrainedModel) -> None:
    title = model.catalog.title(7)
    words = title.split()
    told = shop.get("/v1/items", params={"query": f"{words[-1].upper()} {words[0][:4]}", "limit": 100}).json()["items"]
    assert model.catalog.item_ids[7] in [card["item_id"] for card in told]
    assert all(words[-1].lower() in card["title"].lower() for card in told)
    popularity = [shop.get(f"/v1/items/{card['item_id']}").json()["popularity"] for card in told]
    assert popularity == sorted(popularity, reverse=True)
    assert shop.get("/v1/items?query=.*").json()["items"] == []
    accented = shop.get("/v1/items", params={"query": "  ".join((words[-1], words[0])).replace("e", "é"), "limit": 100})
    plain = shop.get("/v1/items", params={"query": f"{words[-1]} {words[0]}", "limit": 100})
    assert accented.json() == plain.json() != {"items": []}
    assert plainly(pl.Series(["Crème BRÛLÉE", "Ångström"])).to_list() == ["creme brulee", "angstrom"]


def test_events_are_a_history(shop: TestClient) -> None:
    events = [{"user_id": "ann/1", "item_id": f"P0{n}", "time": 10 - n, "event_id": f"e{n}"} for n in (1, 2, 3)]
    assert shop.post("/v1/events", json={"events": events}).json() == {
        "accepted": 3, "duplicates": 0, "unknown": [],
    }  # fmt: skip
    assert shop.post("/v1/events", json={"events": events[:2]}).json()["duplicates"] == 2
    kept = shop.get("/v1/users/ann/1").json()["history"]
    assert [event["item_id"] for event in kept] == ["P03", "P02", "P01"]
    by_user, by_history = ask(shop, user_id="ann/1"), ask(shop, history=["P03", "P02", "P01"])
    assert by_user["recommendations"] == by_history["recommendations"]
    assert shop.delete("/v1/users/ann/1").json() == {"forgotten": 3}
    assert ask(shop, user_id="ann/1")["by"] == "popularity"


def test_a_condition_on_a_column_is_the_librarys(shop: TestClient, model: TrainedModel) -> None:
    brand = model.catalog.table["brand"][3]
    for where in ({"brand": brand}, {"brand": [brand, "another"], "title": model.catalog.title(3)}):
        answer = model.recommend(["P05"], 48, where=where)
        assert ids(ask(shop, history=["P05"], k=48, filters={"where": where})) == answer.item_ids != []
    told = {each["name"]: each for each in shop.get("/v1/columns").json()["columns"]}
    brands = {each["name"]: each["num_items"] for each in told["brand"]["values"]}
    assert brands == Counter(model.catalog.table["brand"])
    assert told["popularity"]["kind"] == "number"
    assert "did you mean 'brand'" in refused(shop, 422, filters={"where": {"brant": "a"}})
    assert "a range needs numbers" in refused(shop, 422, filters={"where": {"brand": {"max": 3}}})


def test_times_are_numbers_or_iso_and_unknown_items_are_named(shop: TestClient) -> None:
    events = [
        {"user_id": "of-no-other-test", "item_id": "P02", "time": "2001-09-09T01:46:41Z"},
        {"user_id": "of-no-other-test", "item_id": "none", "time": 1e9 + 2},
        {"user_id": "of-no-other-test", "item_id": "P01", "time": 1e9},
    ]
    assert shop.post("/v1/events", json={"events": events}).json()["unknown"] == ["none"]
    kept = shop.get("/v1/users/of-no-other-test").json()["history"]
    assert [(event["item_id"], event["time"]) for event in kept] == [("P01", 1e9), ("P02", 1e9 + 1), ("none", 1e9 + 2)]
    timed = [{"item_id": "P02", "time": "2001-09-09T01:46:41Z"}, {"item_id": "P01", "time": 1e9}]
    assert [card["item_id"] for card in ask(shop, history=timed)["history"]] == ["P01", "P02"]
    assert shop.delete("/v1/users/of-no-other-test").json() == {"forgotten": 3}


def test_every_answer_has_a_request_id_which_is_the_clients_own(
    shop: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sidestep.serving")
    for path, status in (("/healthz", 200), ("/v1/items/nothing", 404)):
        answer = shop.get(path, headers={"X-Request-Id": "order-17"})
        assert (answer.status_code, answer.headers["X-Request-Id"]) == (status, "order-17")
    own = {shop.get("/healthz", headers=given).headers["X-Request-Id"] for given in ({}, {"X-Request-Id": "a b"})}
    assert len(own - {"a b", "order-17"}) == 2
    logged = [record.request_id for record in caplog.records if record.message == "request"]  # type: ignore[attr-defined]
    assert logged[:2] == ["order-17", "order-17"]
    assert own == set(logged[2:])


def test_the_page_answers_head_and_a_body_that_is_no_json_is_told_so(shop: TestClient) -> None:
    assert shop.head("/").status_code == 200
    sent = shop.post("/v1/recommend", content=b"{", headers={"Content-Type": "application/json"})
    assert sent.json()["error"]["message"].startswith("The body is not JSON: ")
    plain = shop.post("/v1/recommend", content=b"{}", headers={"Content-Type": "text/plain"})
    assert "Content-Type: application/json; got 'text/plain'" in plain.json()["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"k": 0}, "Bad value 0 for k: expected at least 1"),
        ({"k": 10_000}, "Bad value 10000 for k: expected at most 100"),
        ({"k": "ten"}, 'Bad value "ten" for k: expected a whole number'),
        ({"beams": 100_000}, "for beams: expected at most 200"),
        ({"histroy": []}, "Unknown key 'histroy'; did you mean 'history'?"),
        ({"filters": {"category": ["a"]}}, "Unknown key 'category' in filters; did you mean 'categories'?"),
        ({"history": "P01"}, 'Bad value "P01" for history: expected a list'),
        ({"history": [5]}, "Bad value 5 for history[0]: expected text or an object"),
        ({"history": [{"item": "P01"}]}, "Missing history[0].item_id; Unknown key 'item' in history[0]; did you mean"),
        ({"history": ["P01"] * 1_001}, "Bad value for history: expected at most 1000 of them"),
        ({"history": [{"item_id": "P01", "time": "17"}]}, "expected ISO 8601, or seconds since 1970 as a number"),
        ({"history": ["P01"], "user_id": "u"}, "expected one of them"),
        ({"filters": {"sets": ["moon"]}}, "Unknown set 'moon'"),
        ({"at": "noon"}, "Cannot read at = 'noon' as a time; expected ISO 8601"),
        ({"at": 1_795_896_900}, "for seconds, send 1795896900000"),
        ({"at": True}, "Bad value true for at: expected a whole number or text"),
        ({"history": [{"item_id": "P01", "time": 1e12}]}, "for history[0].time: expected at most 1e+11"),
        (
            {"history": [{"item_id": "P01", "time": 2e9}, "P02", {"item_id": "P03", "time": 1e9}]},
            "The history's times fall: item 3 is of 2001-09-09T01:46:40, item 1 before it",
        ),
    ],
)
def test_a_mistake_is_one_sentence(shop: TestClient, asked: dict[str, Any], said: str) -> None:
    assert said in refused(shop, 422, **asked)


def test_what_is_not_there_is_told(shop: TestClient) -> None:
    for path in ("/v1/items/nothing", "/v1/semantic-ids/nothing", "/v1/tree?prefix=7.7.7", "/v1/nothing", "/assets/x"):
        answer = shop.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["message"]
    assert shop.get("/v1/tree?prefix=x").status_code == 422
    assert shop.get("/v1/items?model=none").status_code == 404


def test_health_and_numbers(shop: TestClient) -> None:
    assert shop.get("/healthz").json() == {"status": "ok"}
    assert shop.get("/readyz").json() == {"status": "ready"}
    ask(shop)
    text = shop.get("/metrics").text
    assert 'sidestep_requests_total{route="/v1/recommend",status="200"}' in text
    assert 'sidestep_batch_rows_bucket{le="1.0",model="shop"}' in text


def test_a_body_that_is_too_long_is_refused_whatever_it_says_of_itself(exported: Path) -> None:
    app = make_app(Answering, Settings({"shop": exported}, max_body=1_000))
    client = TestClient(app)  # not started: nothing of this reaches a model
    long = b'{"history": ["' + b"x" * 5_000 + b'"]}'
    headers = {"content-type": "application/json"}
    assert client.post("/v1/recommend", content=long, headers=headers).status_code == 413

    def in_pieces() -> Any:
        yield from (long[place : place + 100] for place in range(0, len(long), 100))

    answer = client.post("/v1/recommend", content=in_pieces(), headers=headers)
    assert answer.status_code == 413
    assert "1,000 bytes" in answer.json()["error"]["message"]


def test_keys_open_what_they_should(exported: Path) -> None:
    settings = Settings({"shop": exported}, api_key="sesame", admin_key="simsim")
    client = TestClient(make_app(Answering, settings))
    assert client.get("/healthz").status_code == 200
    for key in (None, "sesam", "sesame ", "simsim"):
        headers = {} if key is None else {"Authorization": f"Bearer {key}x" if key == "sesame " else f"Bearer {key}"}
        assert client.get("/v1/sets", headers=headers).status_code == 401
    assert client.get("/v1/sets", headers={"Authorization": "Bearer sesame"}).status_code == 200
    assert client.get("/v1/sets", headers={"X-API-Key": "sesame"}).status_code == 200
    assert client.post("/v1/admin/reload", headers={"X-API-Key": "sesame"}).status_code == 401
    assert client.get("/metrics").status_code == 401
    local = TestClient(make_app(Answering, Settings({"shop": exported}, api_key="sesame", open_metrics=True)))
    assert (local.get("/metrics").status_code, local.get("/v1/sets").status_code) == (200, 401)
    nobody = TestClient(make_app(Answering, Settings({"shop": exported})))
    assert nobody.post("/v1/admin/reload").status_code == 403


def test_under_overload_a_request_is_refused_before_anything_is_made_of_it(
    shop: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = shop.app.state.server  # type: ignore[attr-defined]
    for edition in server.editions.all:
        monkeypatch.setattr(edition.batcher._cost, "each", 3_600.0)
        monkeypatch.setattr(edition.batcher, "_in_flight", 1)
    door = shop.app.middleware_stack  # type: ignore[attr-defined]
    while not isinstance(door, Door):
        door = door.app
    assert shop.post("/v1/models").status_code == 405
    monkeypatch.setattr(door, "_inside", 1)
    answer = shop.post("/v1/recommend", json={"history": ["P01"]})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 3_600
    assert "too near its deadline" in answer.json()["error"]["message"]
    named = shop.post("/v1/recommend", json={"history": ["P01"], "deadline_ms": 60_000})
    assert "too near its deadline" in named.json()["error"]["message"]
    assert shop.get("/v1/models").status_code == 200
    monkeypatch.undo()
    assert ids(ask(shop, history=["P01"]))
