"""What Python users hold: outside ids in, recommendations with their paths out."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sidestep
from noting import Noting
from sidestep.data.catalog import Catalog
from sidestep.data.interactions import NO_TIME
from sidestep.data.sequences import SequenceBatch
from sidestep.errors import ArtifactError, DataError, UnknownItemError
from sidestep.recommenders.trained import TrainedModel
from sidestep.sids.path_names import PathNames

HISTORY = ["P05", "P11", "P05", "P30"]


@pytest.fixture(scope="module")
def model(finished: Path) -> TrainedModel:
    return sidestep.load(finished)


def test_loading_takes_a_path_or_its_spelling(finished: Path, model: TrainedModel) -> None:
    assert sidestep.load(str(finished)).recommend(HISTORY) == model.recommend(HISTORY)


def test_loading_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"No run in .*recipe.json is missing"):
        sidestep.load(tmp_path / "nowhere")


def test_asking_for_many_equals_asking_one_by_one(model: TrainedModel) -> None:
    histories = [HISTORY, ["P01"], [], ["P48", "P02"]]
    small = TrainedModel(
        model.recommender, model.catalog, model.interactions, model.sids, model.make_names, batch_size=3
    )
    one_by_one = [model.recommend(history, 5) for history in histories]
    for many in (model.recommend_many(histories, 5), small.recommend_many(histories, 5)):
        assert [answer.item_ids for answer in many] == [answer.item_ids for answer in one_by_one]
        assert [answer.by for answer in many] == ["model", "model", "popularity", "model"]


def test_conditions_on_columns_are_the_list_of_what_meets_them(model: TrainedModel) -> None:
    table = model.catalog.table.with_columns(price=pl.int_range(len(model.catalog)).cast(pl.String))
    priced = replace(model, catalog=Catalog(table))
    cheap = model.catalog.item_ids[5:21]
    where = {"price": {"min": 5, "max": 20}}
    assert priced.recommend(HISTORY, 9, where=where) == model.recommend(HISTORY, 9, allow=cheap)
    brand = table["brand"][7]
    both = [item for item, its in zip(cheap, table["brand"][5:21], strict=True) if its == brand]
    assert set(priced.recommend([], 48, where={**where, "brand": brand}).item_ids) == set(both)


def test_a_longer_list_begins_with_the_shorter_one(model: TrainedModel) -> None:
    assert model.recommend(HISTORY, 9).item_ids[:4] == model.recommend(HISTORY, 4).item_ids


def test_seen_items_are_left_out_unless_they_are_wanted(model: TrainedModel) -> None:
    assert not set(model.recommend(HISTORY, 45).item_ids) & set(HISTORY)
    assert set(HISTORY) <= set(model.recommend(HISTORY, 48, exclude_seen=False).item_ids)


def test_everything_that_may_be_answered_comes_back_and_no_more(model: TrainedModel) -> None:
    answer = model.recommend(HISTORY, 10**9)
    assert sorted(answer.item_ids) == sorted(set(model.catalog.item_ids) - set(HISTORY))


def test_only_allowed_items_are_answered_and_denied_ones_never(model: TrainedModel) -> None:
    allow = ["P07", "P08", "P11", "P40"]
    assert sorted(model.recommend(HISTORY, 5, allow=allow).item_ids) == ["P07", "P08", "P40"]  # P11 is in the history
    assert sorted(model.recommend(HISTORY, 5, allow=allow, deny=["P08"]).item_ids) == ["P07", "P40"]
    assert model.recommend(HISTORY, 5, allow=[]).recommendations == []
    first = model.recommend(HISTORY, 1).item_ids
    assert first[0] not in model.recommend(HISTORY, 10, deny=first).item_ids


def test_an_empty_history_is_answered_by_popularity_and_says_so(model: TrainedModel) -> None:
    answer = model.recommend([], 3, explain=True)
    assert answer.by == "popularity"
    assert len(answer.recommendations) == 3
    assert all(entry.path is None for entry in answer.recommendations)


def test_unknown_items_are_refused_or_skipped_and_named(model: TrainedModel) -> None:
    with pytest.raises(UnknownItemError, match="Unknown item 'P5'"):
        model.recommend(["P5"])
    skipped = model.recommend(["P5", *HISTORY, "Q"], 4, unknown="skip")
    assert skipped.unknown == ["P5", "Q"]
    assert skipped.item_ids == model.recommend(HISTORY, 4).item_ids
    with pytest.raises(UnknownItemError):
        model.recommend(HISTORY, allow=["P5"])
    with pytest.raises(UnknownItemError):
        model.recommend(HISTORY, deny=["P5"])


def test_one_string_is_no_history(model: TrainedModel) -> None:
    with pytest.raises(DataError, match=r"expected a list of ids, as \['P05'\]"):
        model.recommend("P05")
    with pytest.raises(DataError, match="k = 0, expected at least 1"):
        model.recommend(HISTORY, 0)


def test_a_path_leads_to_its_item_and_adds_up_to_its_score(model: TrainedModel) -> None:
    answer = model.recommend(HISTORY, 6, explain=True)
    for entry in answer.recommendations:
        assert entry.path is not None
        codes = model.sids.codes[model.catalog.number_of[entry.item_id]].tolist()
        assert [step.code for step in entry.path] == codes
        assert entry.score == pytest.approx(sum(step.log_prob for step in entry.path), abs=1e-4)
        for level, step in enumerate(entry.path):
            assert step.num_items == (model.sids.codes[:, : level + 1] == codes[: level + 1]).all(1).sum()
            assert all(cluster.name for cluster in step.clusters)


def test_clusters_are_named_once_and_only_when_a_path_is_asked_for(model: TrainedModel) -> None:
    calls: list[int] = []

    def name() -> PathNames:
        calls.append(1)
        return model.path_names

    lazy = TrainedModel(model.recommender, model.catalog, model.interactions, model.sids, name)
    lazy.recommend(HISTORY, 3)
    assert calls == []
    lazy.recommend(HISTORY, 3, explain=True)
    lazy.recommend(HISTORY, 3, explain=True)
    assert calls == [1]


def test_users_of_the_log_have_their_histories(model: TrainedModel) -> None:
    (history,) = model.histories_of(["u07"])
    assert history == [model.catalog.item_ids[item] for item in model.interactions.history(6)]
    with pytest.raises(DataError, match="did you mean 'u07'"):
        model.histories_of(["u007"])


DAY = 86_400_000


@pytest.fixture
def timed(model: TrainedModel) -> TrainedModel:
    """One that reads times."""
    return replace(model, recommender=Noting())


def batch_of(model: TrainedModel) -> SequenceBatch:
    assert isinstance(model.recommender, Noting)
    (batch,) = model.recommender.batches
    return batch


def test_a_model_that_reads_times_gets_those_of_the_items_and_of_the_question(timed: TrainedModel) -> None:
    days = ["1973-04-01", None, datetime(1973, 4, 3), 1_188 * DAY]
    timed.recommend(HISTORY, times=days, at="1973-04-05T00:00Z")
    batch = batch_of(timed)
    assert (batch.long is not None, batch.times is not None, batch.asked is not None) == (True, True, True)
    assert batch.long.tolist() == [[timed.catalog.number_of["P11"]]]
    assert batch.times.tolist() == [[1_188 * DAY, 1_188 * DAY]]
    assert batch.asked.tolist() == [[1_190 * DAY]]
    assert batch.absolute_times == timed.interactions.absolute_times


def test_the_time_of_an_unknown_item_goes_with_it(timed: TrainedModel) -> None:
    times = [1_188 * DAY, 1_189 * DAY, 1_190 * DAY]
    timed.recommend_many([["P05", "Q", "P11"], []], times=[times, None], unknown="skip")
    batch = batch_of(timed)
    assert batch.times.tolist() == [[1_188 * DAY, 1_190 * DAY], [NO_TIME, NO_TIME]]
    assert batch.asked.tolist() == [[NO_TIME], [NO_TIME]]


def test_users_of_the_log_have_the_times_of_their_histories(timed: TrainedModel) -> None:
    log = timed.interactions
    (times,) = timed.times_of(["u07"])
    assert times.tolist() == log.times[log.offsets[6] : log.offsets[7]].tolist()
    timed.recommend_many(timed.histories_of(["u07"]), times=[times])
    assert batch_of(timed).times.tolist() == [times[-2:].tolist()]


def test_a_model_that_reads_no_times_answers_the_same_with_them(model: TrainedModel) -> None:
    with_times = model.recommend(HISTORY, times=["2026-01-01", None, "2026-01-02", "2026-01-03"], at="2026-01-04")
    assert with_times == model.recommend(HISTORY)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"times": ["2026-01-01"]}, "each of the history's 4 items, 1 are given"),
        ({"times": ["2026-01-02", None, "2026-01-01", None]}, "times fall: item 3 is of 2026-01-01"),
        ({"times": ["x", None, None, None]}, "Cannot read a history's time = 'x'"),
        ({"at": "noon"}, "Cannot read at = 'noon' as a time"),
        ({"at": 1_795_896_900}, "for seconds, send 1795896900000"),
    ],
)
def test_a_time_that_is_wrong_is_refused_whatever_the_model_reads(
    model: TrainedModel, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        model.recommend(HISTORY, **asked)


def test_many_histories_have_times_each(model: TrainedModel) -> None:
    with pytest.raises(DataError, match="Expected times for each of 2 histories, got them for 1"):
        model.recommend_many([HISTORY, ["P01"]], times=[None])
