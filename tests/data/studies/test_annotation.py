"""Surrogate texts: who said what, again and again the same, and never half of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastbrain.data import AnnotatorCard, Captions, ClassNames, Request, annotate
from fastbrain.data.studies.annotation import draw
from fastbrain.data.studies.annotators import captions_from_tsv
from fastbrain.errors import CohortError, ConfigError

REQUESTS = [
    Request(f"r{i}", f"Question {i % 3}?", seed=7, stimulus=f"s{i % 5}", name="doing chess")
    for i in range(23)
]


class Counting:
    """Answers with the record's name and remembers how often it was asked."""

    def __init__(self, *, fail_at: int = -1, digest: str = "d") -> None:
        self.asked: list[str] = []
        self.fail_at, self.digest = fail_at, digest

    @property
    def card(self) -> AnnotatorCard:
        return AnnotatorCard("counting", self.digest)

    def annotate(self, requests):
        if len(self.asked) == self.fail_at:
            raise KeyboardInterrupt
        self.asked += [r.record_id for r in requests]
        return [f"  about\n{r.record_id} {r.instruction}" for r in requests]


def test_every_answer_says_where_it_came_from():
    found = annotate(REQUESTS, Counting())
    assert list(found) == [r.record_id for r in REQUESTS]
    one = found["r4"]
    assert one.text == "about r4 Question 1?"
    assert (one.instruction, one.seed, one.model, one.digest, one.version) == (
        "Question 1?",
        7,
        "counting",
        "d",
        1,
    )
    assert one.request == REQUESTS[4].digest()


def test_interrupted_work_goes_on_where_it_stopped(tmp_path):
    cache = tmp_path / "cache"
    first = Counting(fail_at=10)
    with pytest.raises(KeyboardInterrupt):
        annotate(REQUESTS, first, cache=cache, batch_size=5)
    assert len(first.asked) == 10
    second = Counting()
    found = annotate(REQUESTS, second, cache=cache, batch_size=5)
    assert second.asked == [r.record_id for r in REQUESTS[10:]]
    assert found == annotate(REQUESTS, Counting())
    third = Counting()
    assert annotate(REQUESTS[::-1], third, cache=cache) == found
    assert third.asked == []


def test_a_removed_part_of_a_cache_costs_only_its_own_answers(tmp_path):
    annotate(REQUESTS[:15], Counting(), cache=tmp_path, batch_size=5)
    (tmp_path / "part-000001.jsonl").unlink()
    for asked in (REQUESTS[5:10], []):  # the new part takes the place of no other
        again = Counting()
        annotate(REQUESTS[:15], again, cache=tmp_path, batch_size=5)
        assert again.asked == [r.record_id for r in asked]


def test_another_question_is_another_answer(tmp_path):
    cache = tmp_path / "cache"
    annotate(REQUESTS, Counting(), cache=cache)
    changed = [replace(REQUESTS[0], instruction="Why?"), *REQUESTS[1:]]
    again = Counting()
    assert annotate(changed, again, cache=cache)["r0"].text == "about r0 Why?"
    assert again.asked == ["r0"]


def test_a_cache_belongs_to_one_annotator(tmp_path):
    cache = tmp_path / "cache"
    annotate(REQUESTS, Counting(), cache=cache)
    with pytest.raises(CohortError, match=r"must hold answers of counting \(e, version 1\)"):
        annotate(REQUESTS, Counting(digest="e"), cache=cache)
    part = next(cache.glob("part-*"))
    part.write_text(part.read_text().replace('"seed": 7', '"seed": "7"', 1))
    with pytest.raises(CohortError, match="line 1 must be a surrogate"):
        annotate(REQUESTS, Counting(), cache=cache)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(CohortError, match="must be new or a cache"):
        annotate(REQUESTS, Counting(), cache=tmp_path / "other")


def test_silence_is_no_answer(tmp_path):
    class Silent(Counting):
        def annotate(self, requests):
            return [" "] * len(requests)

    with pytest.raises(CohortError, match="must answer every request"):
        annotate(REQUESTS, Silent(), cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("part-*"))
    with pytest.raises(ConfigError, match="asked about once"):
        annotate([*REQUESTS, REQUESTS[0]], Counting())


@pytest.mark.parametrize("answers", [[], ["one"], [None] * len(REQUESTS)], ids=str)
def test_an_answer_that_is_missing_is_told(answers, tmp_path):
    class Short(Counting):
        def annotate(self, requests):
            return answers

    with pytest.raises(CohortError, match="must give one text a request"):
        annotate(REQUESTS, Short(), cache=tmp_path / "cache")


def test_draws_are_fair_and_depend_on_the_record_alone():
    counts = [0, 0, 0]
    for i in range(3000):
        counts[draw(0, f"r{i}", "x", 3)] += 1
    assert all(900 < count < 1100 for count in counts)
    assert draw(0, "r1", "x", 1000) != draw(1, "r1", "x", 1000)
    assert draw(0, "r1", "x", 1000) != draw(0, "r1", "y", 1000)


def test_class_names_and_captions():
    named = ClassNames(["A person is {}.", "Someone is {}."])
    texts = {s.text for s in annotate(REQUESTS, named).values()}
    assert texts == {"A person is doing chess.", "Someone is doing chess."}
    with pytest.raises(CohortError, match="must have a class name"):
        named.annotate([Request("r", "?", 0)])
    written = Captions({"s1": ["a dog", "a cat"]}, otherwise=named)
    found = annotate(REQUESTS, written)
    assert {found[r.record_id].text for r in REQUESTS if r.stimulus == "s1"} == {"a dog", "a cat"}
    assert found["r0"].text in texts
    assert named.card.digest != ClassNames(["A person is {}."]).card.digest
    assert written.card.digest != Captions({"s1": ["a dog"]}, otherwise=named).card.digest


def test_captions_from_a_table(tmp_path):
    table = tmp_path / "captions.tsv"
    table.write_text("stimulus\tcaption\na.mp4\ta dog runs\na.mp4\tit runs\nb.mp4\ta cat\n")
    assert captions_from_tsv(table) == {"a.mp4": ("a dog runs", "it runs"), "b.mp4": ("a cat",)}
    table.write_text("stimulus\tcaption\na.mp4\t\n")
    with pytest.raises(CohortError, match=r"line 2 must name a stimulus .*, got 'a\.mp4' and ''"):
        captions_from_tsv(table)
    for row in ("a.mp4\tn/a", "n/a\ta dog", "NA\ta dog", "a.mp4\tNaN"):
        table.write_text(f"stimulus\tcaption\n{row}\n")
        with pytest.raises(CohortError, match="line 2"):
            captions_from_tsv(table)
    table.write_text("stimulus\ttext\na.mp4\tx\n")
    with pytest.raises(CohortError, match="columns stimulus and caption"):
        captions_from_tsv(table)
