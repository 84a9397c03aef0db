"""Forms: blind, balanced, self-contained, and safe for any text."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastbrain._digests import read_sealed
from fastbrain.errors import CheckpointError, InputError, OutputExistsError
from fastbrain.evaluation import score_human_study, write_human_study
from fastbrain.evaluation.human_study.form import Shown, form_digest, render_form
from fastbrain.evaluation.human_study.pairs import lay_out, study_pairs


class Page(HTMLParser):
    """Tags, and the text of every `div class=text`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.texts, self._inside = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag == "div" and dict(attrs).get("class") == "text"
        if self._inside:
            self.texts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.texts[-1] += data


@pytest.mark.parametrize(
    ("count", "forms", "per_form"), [(1, 1, 1), (7, 3, 7), (8, 4, 8), (25, 6, 9), (11, 11, 1)]
)
@pytest.mark.parametrize("seed", range(5))
def test_forms_are_balanced(count, forms, per_form, seed):
    found = lay_out(count, forms=forms, per_form=per_form, rng=np.random.default_rng(seed))
    assert [len(items) for items in found] == [per_form] * forms
    shown, first = np.zeros(count, int), np.zeros(count, int)
    for items in found:
        assert len({item.pair for item in items}) == per_form
        sides = [item.true for item in items]
        assert abs(sides.count(1) - sides.count(2)) <= 1
        for item in items:
            shown[item.pair] += 1
            first[item.pair] += 1 if item.true == 1 else -1
    assert shown.max() - shown.min() <= 1
    if per_form == count:
        assert abs(first).max() <= 2
    if count > 5 and per_form > 5:
        assert [i.pair for i in found[0]] != [i.pair for i in found[1]]


def test_order_and_position_do_not_depend_on_each_other():
    found = [lay_out(12, forms=1, per_form=12, rng=np.random.default_rng(s))[0] for s in range(400)]
    first = np.array([[item.true == 1 for item in items] for items in found]).mean(axis=0)
    assert np.abs(first - 0.5).max() < 0.1  # four standard errors


def test_a_study(evaluated, store, tmp_path):
    out = tmp_path / "study"
    study = write_human_study(evaluated, out, raters=4)
    assert study["pairs"] == 22
    left_out = {"equal texts": 2, "shown already": 0, "text in another pair": 0, "not drawn": 0}
    assert study["left_out"] == left_out
    assert "approval" in study
    names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    pages = {f"form-0{n}.html" for n in range(1, 5)}
    assert names == {*pages, "instructions.md", "study.json", "key/key.json"}
    key = read_sealed(out / "key" / "key.json", error=InputError)
    rows = pq.read_table(evaluated / "samples.parquet").to_pylist()
    truths = {row["trial_id"]: row for row in rows}
    for name, form in key["forms"].items():
        page = (out / f"{name}.html").read_text("utf-8")
        shown = [text.strip() for text in Page(page).texts]
        wanted = []
        for item in form["items"]:
            row = truths[key["pairs"][item["pair"]]["trial_id"]]
            texts = [row["decoded"], row["deranged"]]
            wanted += [row["truth"], *(texts if item["true"] == 1 else texts[::-1])]
        assert shown == [text.strip() for text in wanted if text.strip()]
        assert page.count("(no text)") == 1


def test_a_form_is_blind_and_needs_no_other_file(evaluated, store, tmp_path):
    write_human_study(evaluated, tmp_path / "study")
    for path in [*(tmp_path / "study").glob("form-*.html"), tmp_path / "study" / "study.json"]:
        text = path.read_text("utf-8")
        assert not any(trial in text for trial in store.split.test)
        assert "samples_sha256" not in text
        if path.suffix == ".html":
            words = r"derang|permut|decoded|condition|true brain|https?:|\bimport\b|fetch\(|XMLHttp"
            assert not re.search(words, text, re.IGNORECASE)
            tags = Page(text).tags
            assert not {tag for tag, _ in tags} & {"link", "img", "iframe", "base", "object", "a"}
            assert not any({"src", "href", "onclick", "style"} & set(a) for _, a in tags)
            assert [tag for tag, _ in tags].count("script") == 1
            policy = next(a["content"] for _, a in tags if a.get("http-equiv"))
            assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_same_run_and_seed_give_the_same_files_and_another_run_another_key(evaluated, tmp_path):
    def files(name, **options):
        write_human_study(evaluated, tmp_path / name, **options)
        found = sorted((tmp_path / name).rglob("*.*"))
        return {p.name: p.read_bytes() for p in found}

    first = files("a")
    assert files("b") == first
    assert files("c", seed=1)["form-01.html"] != first["form-01.html"]

    def sides(name):
        key = read_sealed(tmp_path / name / "key" / "key.json", error=InputError)
        return [(i["pair"], i["true"]) for i in key["forms"]["form-01"]["items"]]

    # seed and numbers do not determine the positions: a rater may know them
    table = pq.read_table(evaluated / "samples.parquet")
    pq.write_table(
        table.append_column("score: x", [[0.5] * len(table)]), evaluated / "samples.parquet"
    )
    files("d")
    assert sides("d") != sides("a")


def test_subsets_and_drawn_pairs(evaluated, tmp_path):
    study = write_human_study(evaluated, tmp_path / "study", pairs=9, raters=4, pairs_per_form=5)
    assert study["pairs"] == 9
    assert study["left_out"]["not drawn"] == 13
    assert {form["pairs"] for form in study["forms"].values()} == {5}


def test_repeated_pairs_are_left_out():
    columns = {"trial_id": list("abc"), "subject": list("xxx"), "block": list("123")}
    columns |= {"truth": ["t"] * 3, "decoded": ["u", "u ", "v"], "deranged": ["w", "w", "x"]}
    contexts = dict.fromkeys("abc", ("", ""))
    pairs, left_out = study_pairs(columns, contexts, most=9, rng=np.random.default_rng(0))
    assert [pair.trial_id for pair in pairs] == ["a", "c"]
    assert (left_out["shown already"], left_out["text in another pair"]) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_no_text_is_in_two_pairs(seed):
    count, rng = 9, np.random.default_rng(seed)
    said = [f"text {i}" for i in range(count)]
    columns = {"trial_id": said, "subject": ["x"] * count, "block": said}
    columns |= {"truth": said, "decoded": said, "deranged": said[1:] + said[:1]}
    contexts = dict.fromkeys(said, ("", ""))
    pairs, left_out = study_pairs(columns, contexts, most=3, rng=rng)
    texts = [text for pair in pairs for text in pair.shown[-2:]]
    assert len(pairs) == 3
    assert len(set(texts)) == len(texts)
    # a chain of nine texts in a circle: three to four pairs share none
    assert left_out["text in another pair"] + left_out["not drawn"] == count - 3
    assert left_out["not drawn"] <= 1


def test_question_and_prompt_are_shown_where_there_are_any():
    item = Shown("what <now>?", "once upon", "a time", "one", "two")
    assert Page(render_form("f", [item])).texts == [
        "what <now>?",
        "once upon",
        "a time",
        "one",
        "two",
    ]
    page = render_form("f", [Shown("", " ", "a time\x00\x1b", "one\r\n", "two")])
    assert Page(page).texts[0] == "a time\ufffd\ufffd"
    assert "Text before" not in page
    assert form_digest("f", [item]) != form_digest("g", [item])


def test_what_cannot_be_a_study_is_refused(evaluated, tmp_path):
    with pytest.raises(InputError, match="raters × pairs_per_form"):
        write_human_study(evaluated, tmp_path / "out", raters=2, pairs_per_form=3)
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputExistsError, match="Choose another"):
        write_human_study(evaluated, tmp_path / "there")
    table = pq.read_table(evaluated / "samples.parquet")
    same = table.set_column(table.schema.get_field_index("deranged"), "deranged", table["decoded"])
    pq.write_table(same, evaluated / "samples.parquet")
    with pytest.raises(InputError, match="does not use the brain"):
        write_human_study(evaluated, tmp_path / "out")
    pq.write_table(table.drop_columns(["deranged"]), evaluated / "samples.parquet")
    with pytest.raises(InputError, match="evaluate again"):
        write_human_study(evaluated, tmp_path / "out")
    (evaluated / "samples.parquet").unlink()
    with pytest.raises(InputError, match="Run fastbrain evaluate"):
        write_human_study(evaluated, tmp_path / "out")
    (evaluated / "manifest.json").unlink()
    with pytest.raises(CheckpointError):
        write_human_study(evaluated, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# The parts of a browser that the script of a form uses. It answers three pairs by key, one by
# pointer, opens the page again, saves, and prints the file.
BROWSER = """
const fs = require("fs");
const [script, form, digest, format, count] = process.argv.slice(2);
const listeners = {}, elements = {}, stored = {}, saved = [];
const element = (more) => Object.assign({ dataset: {}, classList: { add() {}, toggle() {} },
  addEventListener(kind, f) { this.on = f; }, focus() {}, scrollIntoView() {}, remove() {},
  appendChild() {}, click() {}, checked: false }, more);
function page() {
  const main = element({ dataset: { form, digest, format } });
  const items = [...Array(Number(count)).keys()].map((i) => {
    const inputs = {};
    for (const v of "012") inputs[v] = element({ type: "radio", value: v });
    return element({ dataset: { item: String(i + 1) }, inputs,
      querySelector: (s) => (s === "h2" ? element({}) : inputs[s.match(/value="(.)"/)[1]]) });
  });
  global.document = { body: element({}), createElement: () => element({}),
    querySelector: () => main, addEventListener: (kind, f) => { listeners[kind] = f; },
    querySelectorAll: (s) =>
      (s === ".item" ? items : items.flatMap((i) => Object.values(i.inputs))),
    getElementById: (id) => (elements[id] = elements[id] || element({})) };
  eval(fs.readFileSync(script, "utf8"));
  return items;
}
global.localStorage = { getItem: (k) => stored[k] || null, setItem: (k, v) => { stored[k] = v; } };
global.Blob = class { constructor(parts) { saved.push(parts.join("")); } };
global.URL = { createObjectURL: () => "blob:x", revokeObjectURL() {} };
global.setTimeout = () => 0;
const press = (key) => listeners.keydown({ key, preventDefault() {} });
page();
["1", "2", "0", "x"].forEach(press);
listeners.change({ target: { type: "radio", value: "2" } });
press("ArrowLeft"); press("1");
const items = page();
if (!items[2].inputs["1"].checked || items[2].inputs["0"].checked) throw new Error("not restored");
elements.save.on();
console.log(saved[0]);
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_script_saves_answers_that_the_reader_takes(evaluated, tmp_path):
    study = write_human_study(evaluated, tmp_path / "study", raters=1)
    page = (tmp_path / "study" / "form-01.html").read_text("utf-8")
    (tmp_path / "form.js").write_text(re.search(r"<script>(.*)</script>", page, re.DOTALL)[1])
    (tmp_path / "browser.js").write_text(BROWSER)
    main = next(a for tag, a in Page(page).tags if tag == "main")
    words = [main["data-form"], main["data-digest"], main["data-format"], str(study["pairs"])]
    command = ["node", tmp_path / "browser.js", tmp_path / "form.js", *words]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["answers"] == {"1": "1", "2": "2", "3": "1", "4": "2"}
    (tmp_path / "answers.json").write_text(ran.stdout)
    counts = score_human_study(tmp_path / "study", [tmp_path / "answers.json"]).counts
    assert (counts["answers"], counts["unanswered"]) == (4, study["pairs"] - 4)
