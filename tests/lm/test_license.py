"""License of a language model, as its own files state it."""

from __future__ import annotations

import pytest

from fastbrain.lm.kept_llm import LLMRecord
from fastbrain.lm.license import license_of

README = "---\nlibrary_name: transformers\n{}\n---\n# A model\nlicense: of the text\n"


def record(folder, **options) -> LLMRecord:
    return LLMRecord(**{"kind": "copy", "name": str(folder), "files": {"a.json": "0"}, **options})


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ('license: "llama3.2"', "llama3.2"),
        ("license: other\nlicense_name: gemma", "gemma"),
        ("license: other", "other"),
        ("tags: [a]", ""),
    ],
)
def test_the_header_of_a_readme_states_it(tmp_path, header, found):
    (tmp_path / "README.md").write_text(README.format(header))
    assert license_of(record(tmp_path)) == found


def test_a_license_file_states_it(tmp_path):
    assert license_of(record(tmp_path)) == ""
    (tmp_path / "README.md").write_text("# A model without a header\n---\nlicense: mit\n---\n")
    assert license_of(record(tmp_path)) == ""
    (tmp_path / "LICENSE").write_text("\n   MIT License  \n\nCopyright\n")
    assert license_of(record(tmp_path)) == "MIT License"


def test_a_gguf_file_states_it(tmp_path):
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_license("apache-2.0")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    given = record(tmp_path / "m.gguf", kind="folder", files={"m.gguf": "0"})
    assert license_of(given) == "apache-2.0"


def test_a_model_on_the_hub_is_looked_up_in_the_cache(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    (tmp_path / "README.md").write_text(README.format("license: mit"))
    asked = []

    def cached(name, file, *, revision):
        asked.append((name, file, revision))
        return str(tmp_path / file)

    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    given = record("lab/llm", kind="hub", name="lab/llm", revision="abc")
    assert license_of(given) == "mit"
    assert asked == [("lab/llm", "config.json", "abc")]
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_a, **_o: None)
    assert license_of(given) == ""
