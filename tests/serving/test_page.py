"""The page in a browser: what a visitor does with it, on a phone too, and that data stays text."""

import json
import re
import shlex
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
import uvicorn

from page_reader import NASTY
from sidestep import artifact, bundle, durable
from sidestep.pipeline.answering import Answering
from sidestep.serving.app import make_app
from sidestep.serving.settings import Settings

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright; `pip install -e '.[test]'`")

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
expect = playwright.expect
pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium; Debian's package is `chromium`")

KEY = "open sesame"
SECONDS = 20


@pytest.fixture(scope="module")
def nasty(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny shop with a title that is markup on its most popular item, and in all of that item's category; with
    prices from 0.5 to 24 and half of the items in stock.
    """
    whole = bundle.read(exported)
    folder = tmp_path_factory.mktemp("nasty") / "nasty"
    first = int(whole.popularity.argmax())
    table = whole.catalog.table.with_row_index("row")
    category = table["category"][first]
    renamed = table.with_columns(
        title=pl.when(pl.col("row") == first).then(pl.lit(NASTY)).otherwise("title"),
        category=pl.when(pl.col("category") == category).then(pl.lit(NASTY)).otherwise("category"),
        price=(pl.col("row") + 1) / 2,
        in_stock=pl.col("row") % 2 == 0,
    )
    manifest = whole.manifest
    with bundle.writing(folder, manifest.meta, manifest.config, manifest.parents) as staging:
        for name in manifest.files:
            shutil.copy(exported / name, staging / name)
        renamed.drop("row").write_parquet(staging / "items.parquet")
        check = durable.read_json(staging / bundle.CHECK)
        check["parts"]["items.parquet"] = artifact.file_hash(staging / "items.parquet")
        durable.write_json(staging / bundle.CHECK, check)
    return folder


def _serving(settings: Settings) -> Iterator[str]:
    """The address of a server in a thread."""
    config = uvicorn.Config(make_app(Answering, settings), port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and thread.is_alive() and time.monotonic() < until:
        time.sleep(0.02)
    assert server.started
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(SECONDS)


@pytest.fixture(scope="module")
def address(nasty: Path, exported: Path) -> Iterator[str]:
    yield from _serving(Settings({"shop": nasty, "twin": exported}, deadline_ms=30_000))


@pytest.fixture(scope="module")
def locked(exported: Path) -> Iterator[str]:
    """A server that asks for a key."""
    yield from _serving(Settings({"shop": exported}, deadline_ms=30_000, api_key=KEY))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A visitor's tab, which must end without a dialog, an error, or a request to anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=address, locale="en-GB")
    tab = context.new_page()
    tab.set_default_timeout(SECONDS * 1_000)
    wrong: list[str] = []
    tab.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    tab.on("pageerror", lambda error: wrong.append(f"error {error}"))
    tab.on("console", lambda told: wrong.append(f"console {told.text}") if told.type in ("error", "warning") else None)
    tab.on("request", lambda sent: wrong.append(sent.url) if not sent.url.startswith(address) else None)
    tab.wrong = wrong
    yield tab
    context.close()
    assert wrong == []


def answered(page: Any) -> list[str]:
    """The answers' ids, once no question is under way."""
    page.locator("#told:not([aria-busy]) .answers").first.wait_for()
    return [each.get_attribute("title") for each in page.locator(".answers > li .item[title]").all()]


def history(page: Any) -> list[str]:
    return [each.get_attribute("title") for each in page.locator("#history .item").all()]


def popular(page: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.request.get("v1/items?limit=30").json()["items"]
    return found


def told(page: Any, **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = page.request.post("v1/recommend", data={"explain": True, **asked}).json()
    return answer


def has_no_sideways_scroll(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_first_visitor_sees_thoughts_without_doing_anything(page: Any) -> None:
    page.goto("/")
    shown = answered(page)
    given = history(page)
    assert given
    answer = told(page, history=given)
    assert shown == [each["item_id"] for each in answer["recommendations"]]
    first = answer["recommendations"][0]
    path = page.locator(".answers > li").first.locator(".path")
    deciding = [step for step in first["path"] if step["decides"]]
    assert path.locator("h4").all_inner_texts() == [f"Level {step['level']}" for step in deciding]
    for step, level in zip(deciding, path.locator("> li").all(), strict=True):
        text = level.inner_text()
        assert f"code {step['code']}" in text
        held = step["thinks_of"]
        assert (held is None) == (not step["thought"])
        if held is not None:
            assert (held["name"] or "undecided") in text
            assert f"{len(held['clusters'])} of {held['possible']} clusters, {held['num_items']} item" in text
            level.get_by_text("nearest clusters").click()
            text = level.inner_text()
        assert all(cluster["name"] in text for cluster in step["thought"] if cluster["num_items"])
    rest = [f"{step['code']} at level {step['level']}" for step in first["path"] if not step["decides"]]
    folded = page.locator(".answers > li").first.locator(".path + p.quiet")
    assert folded.all_inner_texts() == ([f"Nothing left to decide: code {', '.join(rest)}."] if rest else [])
    counts = [page.request.get("v1/models").json()["models"][0]["num_items"]]
    counts += [step["num_items"] for step in first["path"]]
    trail = page.locator(".answers .trail").first.inner_text()
    assert trail == " → ".join(f"{number:,}" for number in counts)


def test_the_request_as_curl_is_the_one_that_was_answered(page: Any) -> None:
    page.goto("/")
    shown = answered(page)
    page.locator("#as-curl summary").click()
    command = shlex.split(page.locator("#curl").inner_text())
    assert command[:2] == ["curl", "-s"]
    body = json.loads(command[command.index("-d") + 1])
    answer = page.request.post(command[2], data=body).json()
    assert [each["item_id"] for each in answer["recommendations"]] == shown
    assert has_no_sideways_scroll(page)


def test_the_tree_holds_every_path_once_up_to_the_last_code_that_decides(page: Any) -> None:
    page.goto("/")
    shown = answered(page)
    answer = told(page, history=history(page))["recommendations"]
    prefixes = set()
    for each in answer:
        last = max([step["level"] for step in each["path"] if step["decides"]], default=1)
        prefixes |= {tuple(step["code"] for step in each["path"][:depth]) for depth in range(1, last + 1)}
    assert page.locator(".beam .node:not(.root)").count() == len(prefixes)
    ends = page.locator(".beam .end .item").all()
    assert sorted(each.get_attribute("title") for each in ends) == sorted(shown)


def test_a_history_is_built_with_the_keyboard_alone(page: Any) -> None:
    page.goto("/#h=")
    answered(page)
    assert "most popular" in page.locator(".by").inner_text()
    item = popular(page)[1]
    find = page.get_by_role("combobox", name="Add an item")
    find.focus()
    page.keyboard.type(item["item_id"])
    page.locator("#found").get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    expect(find).to_have_attribute("aria-activedescendant", "found-0")  # once the results are those of the whole id
    page.keyboard.press("Enter")
    page.locator(".answers .path").first.wait_for()
    assert history(page) == [item["item_id"]]
    assert find.get_attribute("aria-expanded") == "false"
    page.keyboard.type("nothing is called so")
    page.get_by_role("option", name="Nothing found").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Control+A")
    page.keyboard.type(popular(page)[2]["item_id"])
    page.keyboard.press("Enter")  # before the suggestions are there
    expect(page.locator("#history > li")).to_have_count(2)
    answered(page)
    page.get_by_role("button", name=f"Remove {item['title']}").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#history > li")).to_have_count(1)
    answered(page)
    assert page.evaluate("document.activeElement.closest('#history') !== null")


def test_an_answer_goes_into_the_history_and_back_takes_it_out(page: Any) -> None:
    item = popular(page)[3]["item_id"]
    page.goto(f"/#h={item}")
    best = answered(page)[0]
    page.locator(".answers > li > button").first.click()
    expect(page.locator("#history > li")).to_have_count(2)
    expect(page.locator(".answers .item").first).not_to_have_attribute("title", best)
    assert history(page) == [item, best]
    assert best not in answered(page)
    page.go_back()
    expect(page.locator(".answers .item").first).to_have_attribute("title", best)
    assert history(page) == [item]


def test_a_title_that_is_markup_stays_text_wherever_it_is_shown(page: Any) -> None:
    nasty = popular(page)[0]
    assert nasty["title"] == NASTY
    page.goto("/#h=")
    answered(page)
    assert page.locator(".answers .item").first.inner_text() == NASTY
    page.get_by_role("combobox", name="Add an item").fill("script")
    page.locator("#found").get_by_role("option").first.click()
    page.locator(".answers .path").first.wait_for()
    assert page.locator("#history .item").inner_text() == NASTY
    codes = page.request.get(f"v1/items/{nasty['item_id']}").json()["semantic_id"]
    page.goto(f"/#h={nasty['item_id']}&seen=1&k=40&category={NASTY.replace('&', '%26')}&at={'.'.join(map(str, codes))}")
    page.locator(".leaves .item", has_text="script").first.wait_for()
    assert page.locator("script").count() == 1  # the page's own


def test_the_address_restores_history_filters_and_place(page: Any) -> None:
    items = popular(page)
    category = items[4]["category"]
    given = [items[2]["item_id"], "nobody-knows", items[4]["item_id"]]
    codes = page.request.get(f"v1/items/{given[0]}").json()["semantic_id"]
    fragment = f"h={given[0]}&h={given[1]}&h={given[2]}&k=3&seen=1&at={codes[0]}.{codes[1]}"
    page.goto(f"/#{fragment}&category={category.replace(' ', '+')}")
    page.locator(f'[data-prefix="{codes[0]}.{codes[1]}"][open]').wait_for()
    filters = {"exclude_seen": False, "categories": [category]}
    answer = told(page, history=given, k=3, filters=filters)
    assert answered(page) == [each["item_id"] for each in answer["recommendations"]]
    assert history(page) == given
    assert "skipped" in page.locator("#history .absent").inner_text()
    assert page.locator("#category").input_value() == category
    assert page.locator("#k").input_value() == "3"
    assert not page.locator("#unseen").is_checked()


def test_a_condition_on_a_column_is_asked_for_and_stays_in_the_address(page: Any) -> None:
    item = popular(page)[5]["item_id"]
    brand = brands_of(page)[0]["name"]
    page.goto(f"/#h={item}&k=40&seen=1")
    answered(page)

    def narrowed(where: dict[str, Any], number: int) -> None:
        """The answers are those of a request with these conditions, and fewer than before."""
        found = told(page, history=[item], k=40, filters={"exclude_seen": False, "where": where})["recommendations"]
        expect(page.locator(".answers > li")).to_have_count(len(found))
        assert answered(page) == [each["item_id"] for each in found]
        assert len(found) < number
        expect(page.locator("#more-title")).to_have_text(f"Filters ({len(where)} on), models, users")

    page.get_by_label("price from").fill("3.5")
    page.keyboard.press("Tab")
    narrowed({"price": {"min": 3.5}}, 41)
    page.get_by_label("price to").fill("15")
    page.keyboard.press("Enter")
    narrowed({"price": {"min": 3.5, "max": 15}}, 40)
    page.get_by_label("in_stock").select_option("yes")
    narrowed({"price": {"min": 3.5, "max": 15}, "in_stock": True}, 24)
    page.get_by_label("brand").select_option(brand)
    narrowed({"price": {"min": 3.5, "max": 15}, "in_stock": True, "brand": brand}, 12)
    page.reload()
    narrowed({"price": {"min": 3.5, "max": 15}, "in_stock": True, "brand": brand}, 12)
    assert page.get_by_label("price from").input_value() == "3.5"
    assert page.get_by_label("in_stock").input_value() == "true"
    assert page.get_by_label("brand").input_value() == brand
    for label in ("brand", "in_stock"):
        page.get_by_label(label).select_option("any")
    for label in ("price from", "price to"):
        page.get_by_label(label).fill("")
        page.keyboard.press("Tab")
    expect(page.locator(".answers > li")).to_have_count(40)
    expect(page.locator("#more-title")).to_have_text("Filters, models, users")
    assert "where" not in page.url


def test_a_condition_that_no_control_shows_stands_beside_them_and_can_be_removed(page: Any) -> None:
    brands = [each["name"] for each in brands_of(page)[:2]]
    where = {"brand": brands, "price": [1, 1.5, 2]}
    page.goto(f"/#h=&k=40&where={quote(json.dumps(where))}")
    answer = told(page, history=[], k=40, filters={"where": where})
    assert answered(page) == [each["item_id"] for each in answer["recommendations"]]
    stated = [f"brand: {' or '.join(brands)}", "price: 1 or 1.5 or 2"]
    assert [text[:-2] for text in page.locator(".odd button").all_inner_texts()] == stated  # without the cross
    page.get_by_role("button", name="Remove the condition on price").click()
    expect(page.locator(".odd button")).to_have_count(1)
    page.locator("#conditions").get_by_label("brand").select_option(brands[0])
    expect(page.locator(".odd button")).to_have_count(0)
    page.goto("/#h=&where=nonsense")
    assert answered(page)


def brands_of(page: Any) -> list[dict[str, Any]]:
    columns = page.request.get("v1/columns").json()["columns"]
    found: list[dict[str, Any]] = next(each["values"] for each in columns if each["name"] == "brand")
    return found


def test_two_models_stand_side_by_side_and_equal_ones_agree(page: Any) -> None:
    page.goto("/")
    shown = answered(page)
    page.get_by_label("Compare with").select_option("twin")
    page.locator(".columns.two .agreement").wait_for()
    assert page.locator(".agreement").inner_text() == f"Both models recommend {len(shown)} of {len(shown)} items."
    assert answered(page) == [*shown, *shown]
    ranks = page.locator(".chip").all_inner_texts()
    assert ranks == [f"rank {place} there" for place in range(1, len(shown) + 1)] * 2
    assert page.locator(".beam").count() == 2
    assert has_no_sideways_scroll(page)


def test_a_time_can_be_given_where_a_model_reads_times(page: Any) -> None:
    page.goto("")
    expect(page.get_by_label("Wanted at")).to_be_hidden()

    def timed(route: Any) -> None:
        response = route.fetch()
        models = [{**model, "reads": {**model["reads"], "times": True}} for model in response.json()["models"]]
        route.fulfill(response=response, json={**response.json(), "models": models})

    page.route(re.compile("/v1/models"), timed)
    page.reload()
    with page.expect_request(lambda sent: '"at":"2033-05-18T20:15"' in (sent.post_data or "")):
        page.get_by_label("Wanted at").fill("2033-05-18T20:15")
    page.reload()
    expect(page.get_by_label("Wanted at")).to_have_value("2033-05-18T20:15")


def test_the_catalogue_opens_branch_by_branch_down_to_items(page: Any) -> None:
    page.goto("/#h=")
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url) if "/v1/tree" in sent.url else None)
    page.locator(".branches details").first.wait_for()
    assert len(asked) == 1  # nothing is asked for before it is opened
    place = page.locator("#catalogue")
    for _ in range(3):
        branch = place.locator("> .branches > li > details").first
        branch.locator("> summary").focus()
        page.keyboard.press("Enter")
        place = branch.locator("> .inside")
        place.locator("> ul").wait_for()
    assert len(asked) == 4
    item = place.locator(".leaves .item").first.get_attribute("title")
    place.locator(".leaves button").first.click()
    expect(page.locator("#history > li")).to_have_count(1)
    assert history(page) == [item]


def test_a_refusal_is_shown_as_the_sentence_it_carries(page: Any) -> None:
    message = page.request.post("v1/recommend", data={"filters": {"categories": ["Nowhere"]}}).json()["error"][
        "message"
    ]
    page.goto("/#h=&category=Nowhere")
    page.get_by_role("alert").filter(has_text=message).wait_for()
    assert page.get_by_role("button", name="Try again").is_visible()
    page.get_by_label("Only from").select_option("")
    assert answered(page)
    assert [each for each in page.wrong if "422" not in each] == []  # the browser itself notes the status
    page.wrong.clear()


def test_it_reads_on_a_phone_in_light_and_dark(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto("about:blank")
        page.wrong.clear()
        page.goto("/#h=" + popular(page)[0]["item_id"] + "&beside=twin&k=20")
        answered(page)
        page.locator(".branches summary").first.click()
        page.locator(".inside ul").first.wait_for()
        assert has_no_sideways_scroll(page)
        ink, paper = page.evaluate(
            "(({ color, backgroundColor }) => [color, backgroundColor])(getComputedStyle(document.body))"
        )
        assert contrast(ink, paper) > 7


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast of two `rgb(r, g, b)`."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_a_key_is_asked_for_once_and_kept_in_the_tab(browser: Any, locked: str) -> None:
    context = browser.new_context(base_url=locked)
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1_000)
    page.goto("/")
    for attempt in ("wrong", KEY):
        page.get_by_label("API key").fill(attempt)
        page.keyboard.press("Enter")
        if attempt == "wrong":
            expect(page.get_by_label("API key")).to_have_value("")  # asked again
    assert answered(page)
    page.reload()
    assert answered(page)
    assert page.locator("dialog[open]").count() == 0
    context.close()
