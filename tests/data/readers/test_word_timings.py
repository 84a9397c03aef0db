"""Words fall into the right volumes, whichever file they come from."""

from __future__ import annotations

import pytest

from fastbrain.data import StorySample, Word, read_words, story_samples
from fastbrain.errors import CohortError, InputError

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3.5
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "TextTier"
        name = "events"
        xmin = 0
        xmax = 3.5
        points: size = 1
        points [1]:
            number = 1.5
            mark = "click"
    item [2]:
        class = "IntervalTier"
        name = "word"
        xmin = 0
        xmax = 3.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "sp"
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "so"
        intervals [3]:
            xmin = 1.25
            xmax = 3.5
            text = "he said ""12""!"
"""
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
3.5
<exists>
1
"IntervalTier"
"word"
0
3.5
3
0
0.5
"sp"
0.5
1.25
"so"
1.25
3.5
"he said ""12""!"
"""
WORDS = [Word("so", 0.5, 1.25), Word('he said "12"!', 1.25, 3.5)]


@pytest.mark.parametrize("content", [LONG, SHORT])
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_textgrids(tmp_path, content, coding):
    path = tmp_path / "story.TextGrid"
    path.write_text(content, encoding=coding)
    assert read_words(path) == WORDS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "w.tsv",
            'word\tonset\tduration\nso\t0.5\t0.75\nn/a\t1.0\t0\n"he said ""12""!"\t1.25\t2.25\n',
        ),
        ("w.csv", 'onset,offset,word\n1.25,3.5,"he said ""12""!"\n0.5,1.25,so\n0,0.5,sp\n'),
    ],
)
def test_tables(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_words(tmp_path / name) == WORDS


def test_stretches_and_prompts():
    words = [Word(f"w{i}", i + 0.5, i + 0.9) for i in range(20)]  # one a second
    found = story_samples(words, tr=2.0, n_volumes=12, window=2, prompt=1, onset_s=2.0, trim=(1, 1))
    # volume v hears words 2 v - 2 and 2 v - 1: the stimulus began one volume late
    assert found[0] == StorySample("w0 w1 w2 w3", "", 1, 3, 4)
    assert found[1] == StorySample("w4 w5 w6 w7", "w2 w3", 3, 5, 4)
    assert [s.start for s in found] == [1, 3, 5, 7, 9]
    overlapping = story_samples(words, tr=2.0, n_volumes=12, window=2, step=1)
    assert [s.start for s in overlapping] == list(range(10))


def test_refusals(tmp_path):
    def refused(name, content, match, **options):
        (tmp_path / name).write_text(content)
        with pytest.raises(CohortError, match=match):
            read_words(tmp_path / name, **options)

    refused("a.TextGrid", LONG, r"interval tier 'phone', got \['events', 'word'\]", tier="phone")
    refused("a.TextGrid", LONG, "interval tier 'events'", tier="events")
    refused("a.TextGrid", LONG[:-60], "must be a TextGrid")
    refused("a.TextGrid", "nothing", "must be a TextGrid")
    refused("a.tsv", "onset\tduration\n1\t2\n", "must have columns 'word'")
    refused("a.tsv", "word\tonset\tduration\nso\tsoon\t2\n", "line 2 must have times")
    refused("a.tsv", "word\tonset\toffset\nso\t1,5\t2\n", "line 2 .*decimal comma")
    refused("a.tsv", "word\tonset\toffset\nso\t\t2\n", "line 2 must have times")
    refused("a.tsv", "word\tonset\toffset\nso\t1\n", "line 2 must have 3 cells")
    refused("a.tsv", "word\tonset\toffset\nN/A\t1\t2\n", "line 2 word must be n/a")
    refused("a.tsv", "word\tonset\toffset\nso\t2\t1\n", "end after they begin")
    refused("a.tsv", "word\tonset\toffset\nsp\t1\t2\n", "must hold words")
    refused("a.txt", "so", "must end in")
    with pytest.raises(CohortError, match="must exist, got no such"):
        read_words(tmp_path / "absent.tsv")
    with pytest.raises(InputError, match=r"got none of 2\. Check tr"):
        story_samples(WORDS, tr=2.0, n_volumes=10, onset_s=100)
    with pytest.raises(InputError, match="trim leave volumes"):
        story_samples(WORDS, tr=2.0, n_volumes=10, trim=(5, 5))
