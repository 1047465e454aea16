"""Laws of the clock by itself."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sidestep.data.interactions import NO_TIME
from sidestep.layers.clock import DAY, GAPS, HOUR, MINUTE, UNKNOWN, Clock, Field, TimeEmbedding, calendar, gap_bucket

WEEK = 7 * DAY


def times(count: int = 200) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.sort(rng.integers(-(10**12), 4 * 10**12, (2, count)), axis=1))


def trained(embedding: nn.Module | None) -> TimeEmbedding:
    """With a last layer that is not 0 any more."""
    assert isinstance(embedding, TimeEmbedding)
    nn.init.normal_(embedding.out.weight)
    nn.init.normal_(embedding.out.bias)
    return embedding


def test_an_unknown_time_is_the_logs() -> None:
    assert UNKNOWN == NO_TIME


@pytest.mark.parametrize("offset", [0.0, 8.0, -3.5])
def test_the_calendar_is_pythons(offset: float) -> None:
    moments = times()
    since = datetime(1970, 1, 1, tzinfo=UTC)
    local = [since + timedelta(milliseconds=int(each), hours=offset) for each in moments.flatten()]
    wanted = {
        "hour": [each.hour for each in local],
        "day": [each.weekday() for each in local],
        "weekend": [each.weekday() >= 5 for each in local],
        "week": [(each.timetuple().tm_yday - 1) // 7 for each in local],
    }
    fields: tuple[Field, ...] = ("hour", "day", "weekend", "week")
    for field in fields:
        assert calendar(moments, field, offset).flatten().tolist() == wanted[field], field


def test_gaps_double_from_bucket_to_bucket() -> None:
    minutes = torch.tensor([-5, 0, 0.9, 1, 1.9, 2, 3.9, 4, 8, 1024, 2**19, 2**20, 2**30])
    found = gap_bucket((minutes * MINUTE).long()).tolist()
    assert found == [0, 0, 0, 1, 1, 2, 2, 3, 4, 11, 20, 21, GAPS - 1]


def test_a_week_later_nothing_changes_and_with_the_hour_alone_a_day_later() -> None:
    torch.manual_seed(0)
    for fields, shift in ((("hour", "day", "gap"), WEEK), (("hour", "gap"), DAY)):
        clock = Clock(fields, 8)  # type: ignore[arg-type]
        trained(clock.history), trained(clock.request)
        moments = times(5)
        assert torch.equal(clock.of_items(moments, True), clock.of_items(moments + shift, True))
        last = moments - HOUR
        one, other = (clock.of_requests(moments + by, last + by, True) for by in (0, shift))
        assert torch.equal(one, other)
        assert not torch.equal(one, clock.of_requests(moments + HOUR, last + HOUR, True))


def test_an_unknown_time_adds_nothing_and_without_absolute_times_there_is_only_the_gap() -> None:
    torch.manual_seed(0)
    moments = times(4)
    moments[0, 1] = UNKNOWN
    embedding = trained(TimeEmbedding(("hour", "gap"), 8, 0.0))
    before = torch.cat([torch.full((2, 1), UNKNOWN), moments[:, :-1]], 1)
    vectors = embedding(moments, before, True)
    assert vectors[0, 1].eq(0).all()
    assert vectors[0, [0, 2, 3]].ne(0).all()
    one, other = (embedding(moments + by, before + by, False) for by in (0, 5 * HOUR))
    assert torch.equal(one[1, 1:], other[1, 1:])


def test_at_the_start_times_change_nothing_and_in_training_some_are_left_out() -> None:
    torch.manual_seed(0)
    clock = Clock(("hour",), 8, dropout=0.25)
    moments = times(1000)
    assert clock.of_items(moments, True).eq(0).all()
    trained(clock.request), trained(clock.history)
    told = clock.train().of_requests(moments, moments, True)
    assert 0.2 < told.eq(0).all(-1).float().mean() < 0.3
    rows = clock.of_items(moments.view(-1, 2), True).eq(0).all(-1)
    assert torch.equal(rows[:, 0], rows[:, 1])
    assert clock.eval().of_requests(moments, moments, True).ne(0).any(-1).all()
    untold = Clock(("hour",), 8, history=False, request=False)
    assert untold.of_items(moments, True) is None
    assert untold.of_requests(moments, moments, True) is None
