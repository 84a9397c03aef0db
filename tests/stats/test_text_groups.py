"""No text is in two groups, and groups that share none stay as they are."""

from __future__ import annotations

import itertools

from fastbrain.stats.text_groups import text_groups


def shared(texts, names):
    """Texts in several groups."""
    plain = [" ".join(text.casefold().split()) for text in texts]
    homes = set(zip(plain, names, strict=True))
    return len(homes) - len(set(plain))


def test_groups_without_a_shared_text_keep_their_names():
    assert text_groups(["a", "b", "a", "c"], ["run 1", 2, "run 1", (3, 4)]) == (
        "run 1", "2", "run 1", "(3, 4)",
    )  # fmt: skip


def test_groups_that_share_a_text_are_one():
    texts = ["A  dog.", "a cat", "a\ndog.", "a house", "a House", "a tree"]
    names = text_groups(texts, [1, 1, 2, 2, 3, 4])
    assert names == ("1, 2, 3",) * 5 + ("4",)
    assert not shared(texts, names)


def test_a_chain_of_many_groups_has_a_short_name():
    texts = [f"text {i // 2}" for i in range(1, 41)]
    names = text_groups([*texts, "apart"], [i // 2 for i in range(40)] + [99])
    assert set(names) == {"0, 1, 2, 3, 4 and 15 more", "99"}


def test_the_same_texts_in_every_group_are_divided_into_stretches():
    texts = [f"text {i}" for i in range(12)] * 3
    names = text_groups(texts, [i // 12 for i in range(36)])
    assert len(set(names)) == 5
    assert not shared(texts, names)
    # consecutive: the name changes between two texts of the first group four times
    assert sum(a != b for a, b in itertools.pairwise(names[:12])) == 4
    assert text_groups(["a", "b", "a", "b"], [0, 0, 1, 1]) == ("texts 1/2", "texts 2/2") * 2


def test_a_single_group_is_not_divided():
    assert text_groups(["a", "b"], [0, 0]) == ("0", "0")
