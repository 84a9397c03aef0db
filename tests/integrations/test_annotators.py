"""Annotators with a model: a small language model, and a tiny random video model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_video_model import WORDS, Processor
from tiny_video_model import small_answers as small_answers
from tiny_video_model import video_model as video_model

from fastbrain import cli
from fastbrain.data import Request, Study, annotate
from fastbrain.data.readers.clips import write_clip
from fastbrain.errors import CohortError, ConfigError, InputError
from fastbrain.integrations import annotators
from fastbrain.integrations.annotators import TextModel, VideoModel
from fastbrain.lm import chat as answering
from fastbrain.lm import load_llm, small_llm
from fastbrain.lm.loading import model_digest

FRAME = "{instruction} {facts}"
COLOURS = ("red", "blue", "green")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A language model that knows one answer for each caption."""
    corpus = [f"what is it ? a {c} ball it is {c}" for c in COLOURS]
    sizes = {"dim": 32, "depth": 2, "heads": 2, "steps": 300, "batch_size": 8, "slots": 3}
    return str(small_llm(corpus, cache_dir=tmp_path_factory.mktemp("llm"), **sizes))


def requests():
    return [
        Request(f"r{i}", "what is it ?", seed=0, captions=(f"a {c} ball",))
        for i, c in enumerate(COLOURS)
    ]


def test_a_language_model_answers_from_captions(spoken, tmp_path):
    model = TextModel(spoken, frame=FRAME, max_tokens=4)
    found = annotate(requests(), model, cache=tmp_path / "cache")
    for i, colour in enumerate(COLOURS):
        assert found[f"r{i}"].text.startswith(f"it is {colour}")
    assert found["r0"].model.startswith("language model ")
    # the same in a batch as alone
    assert model.annotate(requests()[2:])[0] == model.annotate(requests())[2]
    with pytest.raises(CohortError, match="captions or a class name"):
        model.annotate([Request("r", "?", 0)])
    with pytest.raises(ConfigError, match="frame"):
        TextModel(spoken, frame="{facts}")


def test_another_model_or_frame_is_another_annotator(spoken):
    card = TextModel(spoken, frame=FRAME).card
    assert TextModel(spoken, frame=FRAME).card == card
    assert TextModel(spoken, frame="{facts} {instruction}").card.digest != card.digest
    llm, _ = load_llm(spoken)
    before = model_digest(llm)
    # a fine-tuning that leaves the embeddings alone
    last = [p for n, p in llm.named_parameters() if n.endswith("mlp.down_proj.weight")][-1]
    last.data += 1
    assert model_digest(llm) != before
    assert model_digest(llm.to(torch.bfloat16)) != before


def test_a_video_model_answers_from_the_clip(video_model, monkeypatch, tmp_path):
    processor = Processor(WORDS, 3)
    monkeypatch.setattr(annotators, "load_video_llm", lambda name, device: (video_model, processor))
    asked = []
    for i, shade in enumerate((10, 240, 240)):
        clip = tmp_path / f"{i}.mp4"
        write_clip(clip, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
        asked.append(Request(f"r{i}", "what is it", seed=0, clip=str(clip)))
    model = VideoModel("somewhere/llava", frames=4, size=8, max_tokens=6)
    found = annotate(asked, model)
    assert len(found["r0"].text.split()) == 6
    # it looks: another clip gets another answer, the same clip the same
    assert found["r1"].text == found["r2"].text != found["r0"].text
    assert processor.asked == ["what is it"] * 3
    with pytest.raises(CohortError, match=r"none for r0 .* and 1 more"):
        model.annotate([replace(r, clip="gone.mp4") for r in asked[:2]])


@pytest.fixture(scope="module")
def on_disk(video_model, tmp_path_factory):
    """The tiny video model as a folder, without a processor."""
    folder = tmp_path_factory.mktemp("video") / "llava-tiny"
    video_model.save_pretrained(folder)
    return folder


def test_a_video_model_loads_from_a_folder_frozen(on_disk, video_model, monkeypatch):
    import transformers

    monkeypatch.setattr(
        transformers.AutoProcessor, "from_pretrained", lambda name, **_: f"of {name}"
    )
    model, processor = answering.load_video_llm(str(on_disk))
    assert processor == f"of {on_disk}"
    assert type(model) is type(video_model)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    for one, other in zip(model.parameters(), video_model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert model_digest(model) == model_digest(video_model)


def test_a_whole_video_model_answers_through_its_own_processor(on_disk, tmp_path, capsys):
    """Nothing stands in for anything: folder, AutoProcessor, chat template, clip, answer."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:  # one built for another torch
        pytest.skip(f"transformers reads videos with torchvision, got: {error}")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        PreTrainedTokenizerFast,
    )

    words = ["<pad>", "<s>", "<image>", "<video>", *"abcdefghijklmnopqrstuvwxyz", "?", "<unk>"]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", unk_token="<unk>",
        additional_special_tokens=["<image>", "<video>"],
    )  # fmt: skip
    folder = shutil.copytree(on_disk, tmp_path / "llava-tiny")
    size = {"height": 8, "width": 8}
    template = (
        "{% for turn in messages %}{% for part in turn['content'] %}"
        "{% if part['type'] == 'video' %}<video> {% else %}{{ part['text'] }} {% endif %}"
        "{% endfor %}{% endfor %}"
    )
    LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=size),
        video_processor=LlavaOnevisionVideoProcessor(size=size, do_sample_frames=False),
        tokenizer=tokenizer,
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=template,
    ).save_pretrained(folder)
    asked = []
    for i, shade in enumerate((10, 240)):
        clip = tmp_path / f"{i}.mp4"
        write_clip(clip, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
        asked.append(Request(f"r{i}", "a b ?", seed=0, clip=str(clip)))
    model = VideoModel(str(folder), frames=4, size=8, max_tokens=5)
    found = annotate(asked, model, cache=tmp_path / "answers")
    assert all(found[r.record_id].text for r in asked)
    assert found["r0"].model == "video model llava-tiny"
    assert annotate(asked, VideoModel(str(folder), frames=4, size=8, max_tokens=5),
                    cache=tmp_path / "answers") == found  # fmt: skip


@pytest.fixture
def had(tmp_path):
    """A BIDS folder like HAD's: four people, two runs each, six clips a run."""
    root = tmp_path / "had"
    for person in range(1, 5):
        for run in (1, 2):
            stem = f"sub-{person:02d}_ses-action01_task-action_run-{run:02d}"
            events = root / f"sub-{person:02d}/ses-action01/func/{stem}_events.tsv"
            events.parent.mkdir(parents=True, exist_ok=True)
            lines = ["onset\tduration\ttrial_type\tresponse_time\tstim_file"]
            for k in range(6):
                clip = f"Archery/v_{person}_{run}_{k}.mp4"
                lines.append(f"{40.0 * k}\t2.0\t1.0\t1.0\t{clip}")
                shade = 10 if k % 2 else 240
                path = root / "stimuli" / clip
                write_clip(path, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
            events.write_text("\n".join(lines) + "\n")
    (root / "task-action_bold.json").write_text('{"RepetitionTime": 2}')
    return root


def test_the_command_line_asks_a_language_model(spoken, had, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FASTBRAIN_CACHE", str(tmp_path / "cache"))
    said = ["study", "had", str(had), str(tmp_path / "one"), "--test-subjects", "04"]
    said += ["--closed-set", "--text-model", spoken]
    assert cli.main(said) == 0
    study = Study.load(tmp_path / "one")
    name = f"language model {Path(spoken).name}"
    assert {s.model for s in study.surrogates} == {name}
    assert f"by {name} (" in capsys.readouterr().out
    assert {t.trial_id: t.text for t in study.trials} == {
        s.record_id: s.text for s in study.surrogates
    }
    # the answers lie in a cache of this annotator, and a second study asks nothing
    (answers,) = (tmp_path / "cache" / "answers").iterdir()
    assert answers.name == study.surrogates[0].digest

    def refuse(*_):
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(TextModel, "annotate", refuse)
    said[3] = str(tmp_path / "two")
    assert cli.main(said) == 0
    assert Study.load(tmp_path / "two").surrogates == study.surrogates


def test_the_command_line_asks_a_video_model(
    video_model, small_answers, had, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        annotators, "load_video_llm", lambda name, device: (video_model, Processor(WORDS, 3))
    )
    said = ["study", "had", str(had), str(tmp_path / "one"), "--test-subjects", "04"]
    said += ["--closed-set", "--video-model", "llava", "--answers", str(tmp_path / "answers")]
    assert cli.main(said) == 0
    texts = {t.stimulus: t.text for t in Study.load(tmp_path / "one").trials}
    assert texts["Archery/v_1_1_0.mp4"] == texts["Archery/v_2_2_4.mp4"]
    assert texts["Archery/v_1_1_0.mp4"] != texts["Archery/v_1_1_1.mp4"]
    assert (tmp_path / "answers" / "annotator.json").is_file()
    # one voice only, and a clip that is absent is one clear error
    capsys.readouterr()
    said[3], said[-1] = str(tmp_path / "two"), str(tmp_path / "others")
    assert cli.main([*said, "--text-model", "llama"]) == 1
    assert "one of --captions, --text-model and --video-model" in capsys.readouterr().err
    (had / "stimuli/Archery/v_1_1_3.mp4").unlink()
    assert cli.main(said) == 1
    assert "v_1_1_3.mp4" in capsys.readouterr().err
    assert not (tmp_path / "two").exists()


def test_what_is_no_video_model(tmp_path, video_model):
    with pytest.raises(InputError, match=r"no config\.json"):
        answering.load_video_llm(str(tmp_path))
    with pytest.raises(InputError, match="chat template"):
        answering.answer_clips(video_model, SimpleNamespace(chat_template=None), [], [])
