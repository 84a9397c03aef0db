"""Annotators with a model: a small language model, and a tiny random video model.

transformers' own video processors need torchvision, which the tests do without: the model is a real
LLaVA-OneVision of random weights, its processor a stand-in that lays tokens out as theirs does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from fastbrain import cli
from fastbrain.data import Request, Study, VoxelStore, annotate
from fastbrain.data.readers.clips import write_clip
from fastbrain.data.studies.annotation import read_surrogates
from fastbrain.errors import CohortError, ConfigError, InputError
from fastbrain.evaluation.report.outputs import data_facts
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


class Processor:
    """Tokens <video> × (frames + 1), then one token a word; the frames as they come."""

    chat_template = "there is one"

    def __init__(self, tokenizer, video_token: int) -> None:
        self.tokenizer, self.video_token = tokenizer, video_token
        self.asked: list[str] = []

    def apply_chat_template(self, turns, *, add_generation_prompt):
        assert add_generation_prompt
        kinds = [part["type"] for part in turns[0]["content"]]
        assert kinds == ["video", "text"]
        self.asked.append(turns[0]["content"][1]["text"])
        return self.asked[-1]

    def __call__(self, *, text, videos, return_tensors):
        (clip,), (words,) = videos, text
        assert clip.dtype == torch.uint8
        ids = [self.video_token] * (len(clip) + 1) + [4 + len(w) for w in words.split()]
        return {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, len(ids), dtype=torch.int64),
            "pixel_values_videos": clip[None].float() / 127.5 - 1,
        }


WORDS = SimpleNamespace(
    pad_token_id=0, decode=lambda ids, **_: " ".join(f"w{i}" for i in ids.tolist())
)


@pytest.fixture(scope="module")
def video_model():
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            **sizes, num_attention_heads=2, image_size=8, patch_size=4, vision_use_head=False
        ),
        text_config=Qwen2Config(
            **sizes, num_attention_heads=2, num_key_value_heads=1, vocab_size=40,
            bos_token_id=1, eos_token_id=None, pad_token_id=0,
        ),
        image_token_index=2,
        video_token_index=3,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlavaOnevisionForConditionalGeneration(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.6)
    model.generation_config.eos_token_id = None
    return model.eval()


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
    ).save_pretrained(on_disk)
    asked = []
    for i, shade in enumerate((10, 240)):
        clip = tmp_path / f"{i}.mp4"
        write_clip(clip, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
        asked.append(Request(f"r{i}", "a b ?", seed=0, clip=str(clip)))
    model = VideoModel(str(on_disk), frames=4, size=8, max_tokens=5)
    found = annotate(asked, model, cache=tmp_path / "answers")
    assert all(found[r.record_id].text for r in asked)
    assert found["r0"].model == "video model llava-tiny"
    assert annotate(asked, VideoModel(str(on_disk), frames=4, size=8, max_tokens=5),
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


def test_the_command_line_asks_a_video_model(video_model, had, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        annotators, "load_video_llm", lambda name, device: (video_model, Processor(WORDS, 3))
    )
    monkeypatch.setattr(VideoModel.__init__.__wrapped__, "__kwdefaults__", {
        **VideoModel.__init__.__wrapped__.__kwdefaults__, "size": 8, "frames": 4, "max_tokens": 4,
    })  # fmt: skip
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


@pytest.fixture
def own(tmp_path):
    """A runs table of two people whose events name a clip, and no text."""
    root = tmp_path / "own"
    root.mkdir()
    rng = np.random.default_rng(0)
    mask = nib.Nifti1Image(np.ones((6, 6, 4), dtype=np.uint8), np.eye(4) * 3)
    nib.save(mask, root / "mask.nii")
    rows = ["subject\trun\tbold\tevents\tmask"]
    for s in (1, 2):
        for r in (1, 2, 3):
            stem = f"sub-{s:02d}_run-{r:02d}"
            image = nib.Nifti1Image(
                (1000 + 20 * rng.standard_normal((6, 6, 4, 40))).astype(np.float32), np.eye(4) * 3
            )
            image.header["pixdim"][4] = 2.0
            image.header.set_xyzt_units("mm", "sec")
            nib.save(image, root / f"{stem}_bold.nii")
            lines = ["onset\tduration\ttrial_type\tstim_file"]
            for k in range(5):
                clip = f"{s}{r}{k}.mp4"
                lines.append(f"{12.0 * k + 4}\t2\taction\t{clip}")
                shade = 10 if k % 2 else 240
                write_clip(root / "stimuli" / clip, np.full((4, 32, 32, 3), shade, dtype=np.uint8))
            (root / f"{stem}_events.tsv").write_text("\n".join(lines) + "\n")
            rows.append(f"{s:02d}\t{r:02d}\t{stem}_bold.nii\t{stem}_events.tsv\tmask.nii")
    (root / "runs.tsv").write_text("\n".join(rows) + "\n")
    return root


def test_prepare_asks_a_video_model_about_own_clips(
    video_model, own, tmp_path, capsys, monkeypatch
):
    processor = Processor(WORDS, 3)
    loaded = []

    def load(name, device):
        loaded.append(name)
        return video_model, processor

    monkeypatch.setattr(annotators, "load_video_llm", load)
    monkeypatch.setattr(VideoModel.__init__.__wrapped__, "__kwdefaults__", {
        **VideoModel.__init__.__wrapped__.__kwdefaults__, "size": 8, "frames": 4, "max_tokens": 4,
    })  # fmt: skip
    asked = tmp_path / "asked.txt"
    asked.write_text("what is it\n\nwho  does it\n")
    said = ["prepare", str(own / "runs.tsv"), str(tmp_path / "store"), "--kernel", "2", "2", "2"]
    said += ["--train", "01", "--val", "02", "--test", "03", "--window", "2", "--closed-set"]
    said += ["--video-model", "llava", "--instructions", str(asked)]
    said += ["--answers", str(tmp_path / "answers")]
    assert cli.main([*said, "--dry-run"]) == 0
    assert not loaded  # everything but the texts is checked without the model
    assert cli.main(said) == 0
    store = VoxelStore.open(tmp_path / "store")
    by_clip = {t.clip: t for t in store.trials}
    one, other, same = (by_clip[f"stimuli/11{k}.mp4"] for k in (0, 1, 2))
    assert {t.instruction for t in store.trials} == {"what is it", "who does it"}
    assert set(processor.asked) == {"what is it", "who does it"}
    assert one.text != other.text
    if one.instruction == same.instruction:
        assert one.text == same.text
    # reports say whose words the targets are
    facts = data_facts(store, {"llm": "x", "store_fingerprint": "y"})
    assert facts["targets"].startswith("answers of video model llava (")
    assert "2 instructions" in facts["targets"]
    # the second time nothing is asked
    before = len(processor.asked)
    said[2] = str(tmp_path / "again")
    assert cli.main(said) == 0
    assert len(processor.asked) == before
    assert VoxelStore.open(tmp_path / "again").fingerprint() == store.fingerprint()
    # texts that are not those of the record
    lines = (tmp_path / "again" / "surrogates.jsonl").read_text().splitlines()
    (tmp_path / "again" / "surrogates.jsonl").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(CohortError, match="origin of each text"):
        data_facts(VoxelStore.open(tmp_path / "again"), {"llm": "x", "store_fingerprint": "y"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--video-model", "llava", "--text-model", "llama"], "one of --captions"),
        (["--video-model", "llava", "--no-events"], "--no-events must be left out"),
        (["--instructions", "asked.txt"], "--instructions must be left out"),
        (["--video-model", "llava", "--instructions", "empty.txt"], "one instruction a line"),
        (["--video-model", "llava"], "13.mp4"),
    ],
)
def test_prepare_refuses_before_a_model_is_loaded(
    own, tmp_path, capsys, monkeypatch, words, message
):
    monkeypatch.setattr(annotators, "load_video_llm", lambda *_, **__: 1 / 0)
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("\n")
    Path("asked.txt").write_text("what\n")
    (own / "stimuli" / "113.mp4").unlink()
    said = ["prepare", str(own / "runs.tsv"), "store", "--folds", "3", *words]
    assert cli.main(said) == 1
    assert message in capsys.readouterr().err
    assert not Path("store").exists()


def test_prepare_takes_own_captions(own, tmp_path):
    table = tmp_path / "captions.tsv"
    clips = sorted(path.name for path in (own / "stimuli").iterdir())
    table.write_text("stimulus\tcaption\n" + "".join(f"{c}\tclip {c[:3]}\n" for c in clips))
    said = ["prepare", str(own / "runs.tsv"), str(tmp_path / "store"), "--kernel", "2", "2", "2"]
    assert cli.main([*said, "--folds", "3", "--captions", str(table)]) == 0
    store = VoxelStore.open(tmp_path / "store")
    assert all(t.text == f"clip {t.stimulus[:3]}" for t in store.trials)


def test_prepare_writes_no_texts_of_trials_that_are_left_out(own, tmp_path):
    header, *rows = (own / "runs.tsv").read_text().splitlines()
    lines = [f"{header}\tconfounds"]
    for row in rows:
        table = own / f"{row.split()[2].removesuffix('_bold.nii')}_confounds.tsv"
        # the head moves while the third trial is shown, of which the window begins 4 s after it
        moved = "".join("0.9\n" if volume == 16 else "0.1\n" for volume in range(40))
        table.write_text(f"framewise_displacement\n{moved}")
        lines.append(f"{row}\t{table.name}")
    (own / "runs.tsv").write_text("\n".join(lines) + "\n")
    table = tmp_path / "captions.tsv"
    clips = sorted(path.name for path in (own / "stimuli").iterdir())
    table.write_text("stimulus\tcaption\n" + "".join(f"{c}\tclip {c[:3]}\n" for c in clips))
    said = ["prepare", str(own / "runs.tsv"), str(tmp_path / "store"), "--kernel", "2", "2", "2"]
    said += ["--folds", "3", "--captions", str(table), "--confounds", "fd:0.5"]
    assert cli.main([*said, "--exclude", "sub-02_run-03"]) == 0
    store = VoxelStore.open(tmp_path / "store")
    kept = {t.stimulus for t in store.trials}
    assert kept == {c for c in clips if c[2] != "2" and c[:2] != "23"}
    found = read_surrogates(store.path / "surrogates.jsonl")
    assert {s.record_id for s in found} == {t.trial_id for t in store.trials}
