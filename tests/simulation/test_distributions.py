"""Distributions of times: what they draw, how they are written, what is refused."""

from __future__ import annotations

from random import Random
from statistics import fmean

import pytest

from backofflock.simulation import Arrival, Distribution

TEXTS = ["0.01", "0", "uniform:0..0.005", "exponential:0.02", "normal:0.01,0.002", "normal:1,4"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_draws_have_the_mean_that_is_said(text: str) -> None:
    distribution = Distribution.parse(text)
    draw = distribution.sampler(Random(1))
    drawn = [draw() for _ in range(20_000)]
    assert min(drawn) >= 0.0
    assert fmean(drawn) == pytest.approx(distribution.mean, rel=0.03)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_printed_is_read_back(text: str) -> None:
    assert str(Distribution.parse(text)) == text
    assert Distribution.parse(f" {text.upper()} ") == Distribution.parse(text)


def test_a_uniform_time_stays_within_its_bounds() -> None:
    draw = Distribution.parse("uniform:2..3").sampler(Random(1))
    drawn = [draw() for _ in range(1000)]
    assert 2.0 <= min(drawn) < 2.01
    assert 2.99 < max(drawn) <= 3.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is empty"),
        ("soon", "there is no 'soon'"),
        ("unifrom:0..1", "did you mean 'uniform'?"),
        ("uniform:1", "uniform is written as uniform:0..0.005"),
        ("uniform:2..1", "its lower bound is above the upper one"),
        ("exponential:", "exponential is written as exponential:0.02"),
        ("normal:0.01", "normal is written as normal:0.01,0.002"),
        ("-1", "its times must be from 0 to 1e+09 seconds"),
        ("nan", "its times must be from 0 to 1e+09 seconds"),
        ("exponential:inf", "its times must be from 0 to 1e+09 seconds"),
    ],
)
def test_a_text_that_is_none_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="write a number of seconds such as 0.01") as raised:
        Distribution.parse(text)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("text", ["burst:0.001", "burst:0", "poisson:50"])
def test_an_arrival_is_read_back(text: str) -> None:
    assert str(Arrival.parse(text)) == text
    assert Arrival.parse("burst") == Arrival()


@pytest.mark.parametrize(
    "text", ["", "poisson", "poisson:0", "poisson:nan", "burst:-1", "burst:x", "flood:3"]
)
def test_an_arrival_that_is_none_gets_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is no arrival: write burst:0.001"):
        Arrival.parse(text)
