"""Miniatures of every published layout, written as their publishers write them."""

import gzip
import json
from pathlib import Path

import pytest

from sidestep.config import build
from sidestep.data.sources import DataConfig, Dataset, read
from sidestep.errors import DataError


def load(path: Path, source: str, **settings: object) -> Dataset:
    return read(build(DataConfig, {"path": str(path), "source": source, **settings}), seed=0)


def histories(data: Dataset) -> dict[str, list[str]]:
    ids = data.catalog.item_ids
    pairs = zip(data.interactions.user_ids, data.interactions.histories(), strict=True)
    return {user: [ids[item] for item in history] for user, history in pairs}


def times(data: Dataset) -> list[int]:
    assert data.interactions.times is not None
    return data.interactions.times.tolist()


def zip_lines(path: Path, lines: list[str]) -> None:
    path.write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))


def review(user: str, item: str, time: int) -> str:
    return json.dumps({"reviewerID": user, "asin": item, "overall": 5.0, "helpful": [0, 1], "unixReviewTime": time})


REVIEWS = [review("A1", "0001", 1_400_000_000), review("A1", "B2", 1_300_000_000), review("A2", "B2", 1_350_000_000)]


def write_2014(folder: Path) -> None:
    zip_lines(folder / "reviews_Beauty_5.json.gz", REVIEWS)
    meta = [
        {"asin": "B2", "title": 'It\'s "red"', "categories": [["Beauty", "Nails"], ["Gifts"]], "salesRank": {"x": 1}},
        {"asin": "0001", "title": "Caf\u00e9 soap", "brand": "L&#39;Or", "price": 3.5, "categories": [["Beauty"]]},
        {"asin": "ZZ", "title": "never sold", "related": {"also_bought": ["B2"]}},
    ]
    zip_lines(folder / "meta_Beauty.json.gz", [repr(row) for row in meta])


def test_amazon_2014_reads_json_reviews_and_python_metadata(tmp_path: Path) -> None:
    write_2014(tmp_path)
    data = load(tmp_path, "amazon", text_fields=["title", "brand", "categories"])
    assert histories(data) == {"A1": ["B2", "0001"], "A2": ["B2"]}
    assert times(data) == [1_300_000_000_000, 1_400_000_000_000, 1_350_000_000_000]
    assert data.catalog.texts == ['It\'s "red". Beauty > Nails, Gifts', "Café soap. L'Or. Beauty"]
    assert data.catalog.table["price"].to_list() == [None, "3.5"]


def test_amazon_keeps_never_sold_items_when_asked(tmp_path: Path) -> None:
    write_2014(tmp_path)
    data = load(tmp_path, "amazon", items_without_interactions="keep")
    assert data.catalog.item_ids == ["B2", "0001", "ZZ"]


def test_metadata_is_read_as_data_and_never_run(tmp_path: Path) -> None:
    zip_lines(tmp_path / "reviews_X_5.json.gz", REVIEWS)
    trap = tmp_path / "trap"
    zip_lines(tmp_path / "meta_X.json.gz", [f"{{'asin': 'B2', 'title': open({str(trap)!r}, 'w')}}"])
    with pytest.raises(DataError, match="line 1 is neither a JSON nor a Python dictionary"):
        load(tmp_path, "amazon")
    assert not trap.exists()


def test_amazon_2018_reads_json_on_both_sides_and_repeated_metadata_is_told(tmp_path: Path) -> None:
    zip_lines(tmp_path / "Luxury_5.json.gz", REVIEWS)
    row = {
        "category": ["Luxury", "Hair"],
        "description": ["Soft.", "Red."],
        "title": "Brush",
        "asin": "B2",
        "price": "",
    }
    meta = [json.dumps(row), json.dumps(row), json.dumps({"asin": "0001", "title": "", "category": []})]
    zip_lines(tmp_path / "meta_Luxury.json.gz", meta)
    with pytest.raises(DataError, match=r"Item 'B2' stands 2 times"):
        load(tmp_path, "amazon")
    data = load(tmp_path, "amazon", duplicate_items="first")
    assert data.catalog.texts == ["Brush. Luxury > Hair. Soft. Red.", ""]


@pytest.mark.parametrize("name", ["All_Beauty.jsonl.gz", "All_Beauty.jsonl", "All_Beauty.csv"])
def test_amazon_2023_joins_on_the_parent_asin_and_counts_in_milliseconds(tmp_path: Path, name: str) -> None:
    rows = [("u", "P2", 1_588_687_728_923), ("u", "P1", 1_588_687_728_000), ("v", "P2", 3)]
    if name.endswith(".csv"):
        lines = ["user_id,parent_asin,rating,timestamp", *(f"{user},{item},5.0,{time}" for user, item, time in rows)]
    else:
        lines = [
            json.dumps({"rating": 5.0, "asin": "child", "parent_asin": item, "user_id": user, "timestamp": time})
            for user, item, time in rows
        ]
    content = "".join(line + "\n" for line in lines).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    meta = [
        {"parent_asin": "P1", "title": "Soap", "store": "Acme", "features": ["Mild"], "description": [], "price": None},
        {"parent_asin": "P2", "title": "Comb", "categories": [], "details": {"Brand": "X"}},
    ]
    zip_lines(tmp_path / "meta_All_Beauty.jsonl.gz", [json.dumps(row) for row in meta])
    data = load(tmp_path, "amazon")
    assert histories(data) == {"u": ["P1", "P2"], "v": ["P2"]}
    assert times(data) == [1_588_687_728_000, 1_588_687_728_923, 3]
    assert data.catalog.texts == ["Soap. Acme. Mild", "Comb"]


def test_amazon_takes_the_meta_file_of_its_own_category(tmp_path: Path) -> None:
    write_2014(tmp_path)
    zip_lines(tmp_path / "meta_Toys.json.gz", ["{'asin': 'B2', 'title': 'wrong'}"])
    assert "red" in load(tmp_path, "amazon").catalog.title(0)


def test_amazon_without_metadata_is_a_log_of_bare_items(tmp_path: Path) -> None:
    zip_lines(tmp_path / "reviews_Beauty_5.json.gz", REVIEWS)
    data = load(tmp_path / "reviews_Beauty_5.json.gz", "amazon")
    assert data.catalog.item_ids == ["0001", "B2"]
    assert data.notes == ["no meta_* file beside reviews_Beauty_5.json.gz: the items have no text"]


def test_amazon_refuses_what_is_no_review_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"user": 1, "item": 2}\n')
    with pytest.raises(DataError, match="no Amazon review file: it has user, item, expected reviewerID, asin"):
        load(tmp_path, "amazon")
    write_2014(tmp_path)
    with pytest.raises(DataError, match=r"which file .* holds the reviews: reviews_Beauty_5.json.gz, x.json"):
        load(tmp_path, "amazon")


RATINGS = [("196", "1", "881250949"), ("186", "02", "891717742"), ("196", "02", "881250940")]
MOVIE_HISTORIES = {"196": ["02", "1"], "186": ["02"]}


def check_movies(data: Dataset, title: str) -> None:
    assert histories(data) == MOVIE_HISTORIES
    assert times(data) == [881250940000, 881250949000, 891717742000]
    assert data.catalog.item_ids == ["1", "02"]
    assert data.catalog.texts == [f"{title}. Comedy Drama", "Léon, the: Cut. Action"]


def test_movielens_100k_has_flags_for_genres_and_latin_1_titles(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("".join(f"{user}\t{item}\t3\t{time}\n" for user, item, time in RATINGS))
    comedy = ["1" if genre in (5, 8) else "0" for genre in range(19)]
    action = ["1" if genre == 1 else "0" for genre in range(19)]
    lines = ["|".join(["1", "Amélie (1999)", "01-Jan-1999", "", "http://x", *comedy])]
    lines += ["|".join(["02", "Léon, the: Cut", "01-Jan-1994", "", "http://y", *action])]
    (tmp_path / "u.item").write_text("\n".join(lines) + "\n", encoding="latin-1")
    check_movies(load(tmp_path, "movielens"), "Amélie (1999)")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_1m_and_10m_have_double_colons(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "ratings.dat").write_text("".join(f"{user}::{item}::5::{time}\n" for user, item, time in RATINGS))
    films = "1::Amélie (1999)::Comedy|Drama\n02::Léon, the: Cut::Action\n"
    (tmp_path / "movies.dat").write_text(films, encoding=encoding)
    check_movies(load(tmp_path, "movielens"), "Amélie (1999)")


def test_movielens_20m_and_later_are_csv(tmp_path: Path) -> None:
    rows = "".join(f"{user},{item},3.5,{time}\n" for user, item, time in RATINGS)
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + rows)
    films = (
        'movieId,title,genres\n1,Žena (1999),Comedy|Drama\n02,"Léon, the: Cut",Action\n9,Unseen,(no genres listed)\n'
    )
    (tmp_path / "movies.csv").write_text(films, encoding="utf-8")
    check_movies(load(tmp_path, "movielens"), "Žena (1999)")
    kept = load(tmp_path, "movielens", items_without_interactions="keep")
    assert kept.catalog.texts is not None
    assert kept.catalog.texts[2] == "Unseen"


def test_movielens_says_which_files_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No MovieLens ratings .*u.data, ratings.dat, ratings.csv"):
        load(tmp_path, "movielens")


def write_recbole(folder: Path) -> None:
    inter = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    inter += 'u\t007\t4\t8.8125095e8\nu\t12"\t3\t881250940\nv\t007\t5\t891717742.5\n'
    (folder / "toy.inter").write_text(inter)
    items = 'item_id:token\tmovie_title:token_seq\tyear:float\n007\tBond "M" Again\t1999\n12"\tVinyl\t\n'
    (folder / "toy.item").write_text(items)


def test_recbole_reads_typed_headers_and_plain_quotes(tmp_path: Path) -> None:
    write_recbole(tmp_path)
    data = load(tmp_path, "recbole")
    assert histories(data) == {"u": ['12"', "007"], "v": ["007"]}
    assert times(data) == [881250940000, 881250950000, 891717742500]
    assert data.catalog.texts == ['Bond "M" Again', "Vinyl"]
    assert data.catalog.table["year"].to_list() == [1999.0, None]
    assert histories(load(tmp_path / "toy.inter", "recbole", ties="shuffled")) == histories(data)


def test_recbole_without_an_item_file_and_with_a_wrong_header(tmp_path: Path) -> None:
    write_recbole(tmp_path)
    (tmp_path / "toy.item").unlink()
    assert load(tmp_path, "recbole").catalog.item_ids == ["007", '12"']
    with pytest.raises(DataError, match=r"no column 'usr_id' \(data.user\); did you mean 'user_id'\?"):
        load(tmp_path, "recbole", user="usr_id")
    (tmp_path / "toy.inter").write_text("user_id\titem_id\nu\ti\n")
    with pytest.raises(DataError, match="expected typed fields as in user_id:token"):
        load(tmp_path, "recbole")
    with pytest.raises(DataError, match=r"Expected one .inter file .* found none there"):
        load(tmp_path / "nowhere", "recbole")


def test_the_planted_world_needs_no_file(tmp_path: Path) -> None:
    data = load(tmp_path, "planted")
    assert len(data.catalog) > 0
    assert len(data.interactions) > 0
