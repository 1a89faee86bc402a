"""Commands that ask a checkpoint, from their command lines, rightly and wrongly."""

import dataclasses
import gzip
import json
import math

import numpy as np
import pytest

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import SentenceEncoder
from bert_jax.statistics import wilson_interval
from tests.convert import models
from tests.experiments.runs import run, run_each

TEXT = "TEXT …"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with a model in two forms and some text."""
    folder = tmp_path_factory.mktemp("commands")
    before = models.pretrained("BertForPreTraining", models.tokenizer())
    save_huggingface(before, folder / "hf")
    save_ours(before, folder / "ours")
    (folder / "trained" / "checkpoints").mkdir(parents=True)
    (folder / "lines.txt").write_text("un read\n\nreading é\n", encoding="utf-8")
    params = {**before.params, "mlm": {**before.params["mlm"], "bias": np.full(11, np.nan)}}
    save_huggingface(dataclasses.replace(before, params=params), folder / "nan")
    save_huggingface(dataclasses.replace(before, sentences=SentenceEncoder()), folder / "lstm")
    modules = folder / "lstm" / "modules.json"
    modules.write_text(modules.read_text().replace("models.Pooling", "models.LSTM"))
    (folder / "bad.txt").write_bytes(b"fine\nun\xff\n")
    save_huggingface(models.pretrained("BertModel", models.tokenizer()), folder / "headless")
    (folder / "long.txt").write_text("un\n" + "un " * 15)
    (folder / "blank.txt").write_text("un\n\u200b\n", encoding="utf-8")
    (folder / "keys.jsonl").write_text('{"text": "un"}\n{"sentence": "un"}\n')
    pair = '{"sentence_good": "un read", "sentence_bad": "un", "UID": "%s"}\n'
    (folder / "pairs.jsonl").write_text(pair % "short" * 2)
    (folder / "same.jsonl").write_text('{"sentence_good": "un", "sentence_bad": "un"}\n')
    (folder / "empty.jsonl").write_text('{"sentence_good": " ", "sentence_bad": "un"}\n')
    long = {"sentence_good": "un", "sentence_bad": "un " * 15}
    (folder / "long.jsonl").write_text(json.dumps(long) + "\n")
    (folder / "latin.jsonl").write_bytes(b'{"sentence_good": "un \xe9", "sentence_bad": "un"}\n')
    (folder / "nothing").mkdir()
    (folder / "torn.jsonl").write_text('{"text": "un"}\n{"text": \n')
    return folder


def test_convert_there_and_back(folder, tmp_path):
    a, b = tmp_path / "a" / "hf", tmp_path / "b"
    there, back, again, broken = run_each(
        "convert",
        [
            ("--from=ours", f"--to={a}"),
            (f"--from={a}", f"--to={b}", "--format=ours"),
            ("--from=hf", f"--to={b}", "--format=ours", "--overwrite"),
            ("--from=nan", f"--to={tmp_path / 'nan'}", "--allow_not_finite"),
        ],
        folder,
    )
    assert [run.errors for run in (there, back, again, broken)] == [""] * 4
    assert [run.status for run in (there, back, again, broken)] == [0] * 4
    assert "BertForPreTraining, 2 layers of width 8" in there.printed
    assert "11 pieces" in there.printed
    models.assert_same_params(load_pretrained(b).params, load_pretrained(folder / "hf").params)


def test_fill_mask_by_argument_and_by_line(folder):
    first, second = run_each(
        "fill_mask",
        [
            ("--checkpoint=hf", "--best=2", "un [MASK]", "[MASK] read [MASK]"),
            ("--checkpoint=ours", "--best=2"),
        ],
        folder,
        TEXT,
        ["", "un [MASK]\n\n[MASK] read [MASK]\n"],
    )
    assert (first.status, first.errors) == (second.status, second.errors) == (0, "")
    assert first.printed.splitlines()[0] == "un [MASK]"
    assert len(first.printed.splitlines()) == 3 + 7
    one, two = map(json.loads, second.printed.splitlines())
    assert (one["line"], one["text"]) == (1, "un [MASK]")
    assert two["line"] == 3 and [len(mask["pieces"]) for mask in two["masks"]] == [2, 2]


def test_fill_mask_stops_at_a_wrong_line_or_marks_it(folder):
    text = "un [MASK]\n\nread\nun [MASK]\n"
    cases = [("--checkpoint=hf",), ("--checkpoint=hf", "--on_error=mark")]
    stopped, marked = run_each("fill_mask", cases, folder, TEXT, [text, text])
    assert stopped.status == 2 and len(stopped.printed.splitlines()) == 1
    assert "standard input, line 3: got 'read'; expected a [MASK] in it" in stopped.errors
    rows = list(map(json.loads, marked.printed.splitlines()))
    assert [row["line"] for row in rows] == [1, 3, 4] and marked.status == 0
    assert rows[1] == {"line": 3, "text": "read", "error": "got 'read'; expected a [MASK] in it"}
    assert rows[2] | {"line": 1} == rows[0]


def test_fill_mask_names_lines_that_are_no_text(folder):
    text = "un [MASK]\n\n\udcff [MASK]\nun\u2028[MASK]\r\n[MASK]"
    cases = [("--checkpoint=hf", "--batch_size=1"), ("--checkpoint=hf", "--on_error=mark")]
    stopped, marked = run_each("fill_mask", cases, folder, TEXT, [text, text])
    message = "standard input, line 3: got text that is not valid UTF-8 (at byte 0 of the line)"
    assert (stopped.status, len(stopped.printed.splitlines())) == (2, 1)
    assert message in stopped.errors and stopped.errors.count("\n") == 1
    rows = list(map(json.loads, marked.printed.strip().split("\n")))
    assert [row["line"] for row in rows] == [1, 3, 4, 5] and marked.status == 0
    assert [message in row.get("error", "") for row in rows] == [False, True, False, False]
    assert [row["text"] for row in rows] == ["un [MASK]", "", "un\u2028[MASK]", "[MASK]"]


def test_extract_features_from_a_file(folder, tmp_path):
    done = run(
        "extract_features", "--checkpoint=hf", "--input=lines.txt", f"--output={tmp_path}/out.npz",
        "--pooling=mean", "--layers=0,-1", cwd=folder,
    )  # fmt: skip
    assert done.status == 0
    columns = np.load(tmp_path / "out.npz")
    assert columns["text"].tolist() == [0, 1, 2]
    assert columns["layer_0"].shape == columns["layer_2"].shape == (3, 8)


def test_a_sentence_encoder_gives_a_row_a_line_until_pieces_are_asked_for(folder, tmp_path):
    made = run("convert", "--from=ours", f"--to={tmp_path}/mean", "--pooling=mean", cwd=folder)
    assert (made.status, made.errors) == (0, "") and "sentence vectors" in made.printed
    usual = (f"--checkpoint={tmp_path}/mean", "--input=lines.txt")
    cases = [
        (*usual, f"--output={tmp_path}/auto.npz"),
        (*usual, f"--output={tmp_path}/mean.npz", "--pooling=mean"),
        (*usual, f"--output={tmp_path}/tokens.npz", "--pooling=tokens"),
    ]
    assert [done.status for done in run_each("extract_features", cases, folder)] == [0, 0, 0]
    auto, mean, tokens = (np.load(tmp_path / f"{n}.npz") for n in ("auto", "mean", "tokens"))
    assert auto["layer_2"].shape == (3, 8) and "id" not in auto
    np.testing.assert_array_equal(auto["layer_2"], mean["layer_2"])
    assert tokens["layer_2"].shape == (len(tokens["id"]), 8) and len(tokens["id"]) > 6


def test_score_sentences_from_lines_and_objects(folder, tmp_path):
    text = "un read\n\n unable \n"
    objects = '{"text": "un read", "id": 1}\n{"text": "unable"}\n'
    (tmp_path / "own.jsonl").write_text(objects.replace("text", "sentence"))
    cases = [
        ("--checkpoint=hf",),
        ("--checkpoint=ours", "--batch_size=2"),
        ("--checkpoint=hf", f"--input={tmp_path}/own.jsonl", "--text_column=sentence",
         f"--output={tmp_path}/out.jsonl"),
        ("--checkpoint=hf", "--form=within_word_l2r"),
    ]  # fmt: skip
    done = run_each("score_sentences", cases, folder, texts=[text, objects, "", text])
    assert [each.status for each in done] == [0] * 4
    rows = [
        list(map(json.loads, each.printed.splitlines())) for each in (done[0], done[1], done[3])
    ]
    rows.insert(2, list(map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())))
    assert [[row["line"] for row in each] for each in rows] == [[1, 3], [1, 2], [1, 2], [1, 3]]
    for each in rows:
        assert [row["text"] for row in each] == ["un read", "unable"]
        assert [row["tokens"] for row in each] == [["un", "read"], ["un", "##able"]]
        for row in each:
            assert row["score"] == pytest.approx(sum(row["token_scores"]), abs=2e-6)
            assert max(row["token_scores"]) <= 0
    scores = np.array([[row["score"] for row in each] for each in rows])
    np.testing.assert_allclose(scores[1:3], scores[[0, 0]], atol=1e-5)
    assert scores[3, 0] == scores[0, 0] and scores[3, 1] != scores[0, 1]
    perplexity = math.exp(-scores[0].sum() / 4)
    assert f"sentences 2; pieces 4; pseudo-perplexity {perplexity:,.4g};" in done[0].errors
    assert "pseudo-perplexity" in done[2].printed and "pseudo" not in done[2].errors


def test_score_sentences_stops_at_a_wrong_line_or_marks_it(folder):
    text = 'un\n{"text": ""}\n{"a": 1}\n\udcff\n' + "un " * 15 + "\n\u200b\nread\n"
    cases = [("--checkpoint=hf",), ("--checkpoint=hf", "--on_error=mark")]
    stopped, marked = run_each("score_sentences", cases, folder, texts=[text, text])
    assert (stopped.status, len(stopped.printed.splitlines())) == (2, 1)
    assert "standard input, line 2: got text = ''; expected a text that" in stopped.errors
    assert marked.status == 0
    rows = list(map(json.loads, marked.printed.strip().split("\n")))
    assert [row["line"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    errors = [
        "", "got text = ''", "got text = None", "got text that is not valid UTF-8",
        "got 17 pieces; expected at most 16, the model's positions",
        "of which no piece is left", "",
    ]  # fmt: skip
    for row, error in zip(rows, errors, strict=True):
        assert error in row.get("error", "") and ("score" in row) == (not error)
    assert "sentences 2; wrong lines 5;" in marked.errors


def test_minimal_pairs_of_files_and_folders(folder, tmp_path):
    (tmp_path / "set").mkdir()
    pair = {"sentence_good": "un read", "sentence_bad": "unreading", "UID": "a",
            "linguistics_term": "x"}  # fmt: skip
    lines = "".join(json.dumps({**pair, "UID": name}) + "\n" for name in "aab")
    (tmp_path / "set" / "one.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "set" / "two.jsonl").write_text('{"sentence_good": "un", "sentence_bad": "read"}\n')
    (tmp_path / "set" / "notes.txt").write_text("not pairs")
    cases = [
        ("--checkpoint=hf", f"--pairs={tmp_path}/set", f"--workdir={tmp_path}/folder"),
        ("--checkpoint=ours", f"--pairs={tmp_path}/set/*.gz,{tmp_path}/set/two.jsonl,"
         f"{tmp_path}/set/../set/two.jsonl",  # once, however it is called
         f"--workdir={tmp_path}/files", "--form=within_word_l2r", "--batch_size=3"),
    ]  # fmt: skip
    done = run_each("minimal_pairs", cases, folder)
    assert [each.status for each in done] == [0, 0]
    for each, name in zip(done, ("folder", "files"), strict=True):
        result = json.loads((tmp_path / name / "result.json").read_text())
        rows = list(map(json.loads, (tmp_path / name / "pairs.jsonl").read_text().splitlines()))
        right = [row["score_good"] > row["score_bad"] for row in rows]
        assert [row["paradigm"] for row in rows] == ["a", "a", "b", "two"]
        assert (result["pairs"], result["ties"]) == (4, 0) and result["seconds"] > 0
        assert result["accuracy"] == sum(right) / 4
        assert result["by_paradigm"] == {"a": right[0], "b": right[2], "two": right[3]}
        assert result["by_phenomenon"] == {"x": right[0], "two": right[3]}
        assert result["paradigms"]["a"]["interval"] == list(wilson_interval(2 * right[0], 2))
        assert "5-gram 61.2 %, LSTM 69.8 %, GPT-2 83.0 %, people 88.6 %" in each.printed
        assert "By paradigm" in each.printed and "By phenomenon" in each.printed


MISTAKES = [
    ("convert", [], "got no --from or no --to"),
    ("convert", ["--from=nowhere!", "--to=x"], "got 'nowhere!', which does not exist"),
    ("convert", ["--from=lines.txt", "--to=x"], "got lines.txt, which is not a checkpoint"),
    ("convert", ["--from=hf", "--to=ours"], "got ours, which is not empty"),
    ("convert", ["--from=hf", "--to=lines.txt/x"], "got lines.txt/x, which cannot be written"),
    ("convert", ["--from=hf", "--to=x", "--format=onnx"], "one of <huggingface|google|ours>"),
    ("convert", ["--from=hf", "--to=x", "--overwrite=maybe"], "flag --overwrite=maybe"),
    ("convert", ["--from=nan", "--to=x"], "earlier checkpoint (experiments.convert copies them as"
     " they are with --allow_not_finite)"),
    ("convert", ["--from=hf", "--to=x", "--allow_not_finite=2"], "flag --allow_not_finite=2"),
    ("fill_mask", ["--checkpoint=nan", "[MASK]"], "got nan with NaN or infinite values in mlm"),
    ("extract_features", ["--checkpoint=nan"], "got nan with NaN or infinite values in mlm/bias"),
    ("convert", ["--from=hf", "--to=x", "--push_to_hub=bert"], "--push_to_hub=bert; expected OWNE"),
    ("convert", ["--from=hf", "--to=x", "--push_to_hub=a/b@c"], "got --push_to_hub=a/b@c; expec"),
    ("convert", ["--from=hf", "--to=x", "--push_to_hub=a/b", "--format=ours"], "--format=hugging"),
    ("convert", ["--from=hf", "--to=x", "--private"], "got --private alone; expected --push_to"),
    ("unpickle", ["--from=hf"], "got no --from or no --to"),
    ("unpickle", ["--from=hf", "--to=x"], "got hf, which has no pytorch_model.bin"),
    ("fill_mask", ["[MASK]"], "got no --checkpoint"),
    ("fill_mask", ["--checkpoint=hf", "no mask"], "text 1: got 'no mask'; expected a [MASK]"),
    ("convert", ["--from=hf", "--to=x", "--splitting=(C"], "got --splitting='(C', which is no"),
    ("fill_mask", ["--checkpoint=hf", "--splitting=space", "[MASK]"], "got --splitting='space'"),
    ("extract_features", ["--splitting=space"], "got --splitting='space'; expected words, spaces"),
    ("fill_mask", ["--checkpoint=hf", "--best=0", "[MASK]"], "flag --best=0"),
    ("fill_mask", ["--checkpoint=hf", "--on_error=go", "[MASK]"], "flag --on_error=go"),
    ("fill_mask", ["--checkpoint=hf", "--batch_size=0", "[MASK]"], "flag --batch_size=0"),
    ("fill_mask", ["--checkpoint=hf", "--dtype=int8", "[MASK]"], "flag --dtype=int8"),
    ("fill_mask", ["--checkpoint=hf", "--json=2", "[MASK]"], "flag --json=2"),
    ("extract_features", ["--checkpoint=hf"], "got no --checkpoint, --input or --output"),
    ("extract_features", ["--input=none.txt"], "got --input=none.txt, which cannot be read"),
    ("extract_features", ["--input=bad.txt"], "got line 2 of --input=bad.txt, which is not"),
    ("extract_features", ["--output=out.csv"], "got out.csv; expected a name that ends in .npz or"),
    ("extract_features", ["--output=no/out.npz"], "got no/out.npz; expected a file in a folder"),
    ("extract_features", ["--layers=last"], "got --layers=last; expected whole numbers"),
    ("extract_features", ["--layers=9"], "got layer 9; expected 0 (the input representation) to 2"),
    ("extract_features", ["--pooling=sum"], "flag --pooling=sum"),
    ("extract_features", ["--checkpoint=lstm"], "expected --pooling=mean or another, to have vec"),
    ("convert", ["--from=hf", "--to=x", "--pooling=tokens"], "flag --pooling=tokens: value should"),
    ("extract_features", ["--pooling=pooler", "--layers=0"], "expected the last layer, 2, alone"),
    ("extract_features", ["--max_length=17"], "got --max_length=17; expected 2 to 16"),
    ("extract_features", ["--batch_size=0"], "flag --batch_size=0"),
    ("extract_features", ["--dtype=int8"], "flag --dtype=int8"),
    ("extract_features", ["lines.txt"], "got 'lines.txt' besides the flags"),
    ("score_sentences", ["--checkpoint="], "got no --checkpoint; expected the path of one"),
    ("score_sentences", ["--checkpoint=headless"], "got a BertModel, which has no masked-LM head"),
    ("score_sentences", ["--checkpoint=nan"], "got nan with NaN or infinite values in mlm/bias"),
    ("score_sentences", ["--input=none.txt"], "got none.txt, which cannot be read (No such file"),
    ("score_sentences", ["--input=bad.txt"], "bad.txt, line 2: got text that is not valid UTF-8 "),
    ("score_sentences", ["--input=long.txt"], "long.txt, line 2: got 17 pieces; expected at most"),
    ("score_sentences", ["--input=blank.txt"], "line 2: got '\\u200b', of which no piece is left"),
    ("score_sentences", ["--input=keys.jsonl"], "keys.jsonl, line 2: got text = None; expected a"),
    ("score_sentences", ["--input=torn.jsonl"], "torn.jsonl, line 2: got invalid JSON (Expecting"),
    ("score_sentences", ["--text_column=words"], "line 1: got words = None; expected a text that"),
    ("score_sentences", ["--text_column="], "got --text_column= without a value; expected one"),
    ("score_sentences", ["--output=hf/config.json"], "got --output=hf/config.json, where config"),
    ("score_sentences", ["--output=no/out.jsonl"], "got 'no/out.jsonl', which cannot be written"),
    ("score_sentences", ["--overwrite=2"], "flag --overwrite=2"),
    ("score_sentences", ["--splitting=space"], "got --splitting='space'; expected words, spaces"),
    ("score_sentences", ["--form=whole_word"], "one of <original|within_word_l2r>"),
    ("score_sentences", ["--output="], "got '.', which cannot be written (it is a folder)"),
    ("score_sentences", ["--on_error=go"], "flag --on_error=go"),
    ("score_sentences", ["--batch_size=0"], "flag --batch_size=0"),
    ("score_sentences", ["--dtype=int8"], "flag --dtype=int8"),
    ("minimal_pairs", ["--checkpoint="], "got no --checkpoint or no --pairs; expected both"),
    ("minimal_pairs", ["--pairs="], "got no --checkpoint or no --pairs; expected both"),
    ("minimal_pairs", ["--checkpoint=headless"], "got a BertModel, which has no masked-LM head"),
    ("minimal_pairs", ["--checkpoint=lines.txt"], "got lines.txt, which is not a checkpoint"),
    ("minimal_pairs", ["--pairs=none.jsonl"], "got --pairs=none.jsonl, where there is no file"),
    ("minimal_pairs", ["--pairs=pairs.jsonl,"], "got --pairs='', an empty name; expected files, f"),
    ("minimal_pairs", ["--pairs=nothing"], "got --pairs=nothing, where there is no file"),
    ("minimal_pairs", ["--pairs=same.jsonl"], "same.jsonl, line 1: got 'un' as both sentences ("),
    ("minimal_pairs", ["--pairs=empty.jsonl"], "line 1: got ' ', of which no piece is left"),
    ("minimal_pairs", ["--pairs=long.jsonl"], "line 1: got 17 pieces; expected at most 16"),
    ("minimal_pairs", ["--pairs=keys.jsonl"], "line 1: got sentence_good = None; expected a text"),
    ("minimal_pairs", ["--pairs=torn.jsonl"], "torn.jsonl, line 1: got sentence_good = None"),
    ("minimal_pairs", ["--pairs=latin.jsonl"], "line 1: got text that is not valid UTF-8 (at byte"),
    ("minimal_pairs", ["--pairs=lines.txt"], "line 1: got 'un read'; expected one JSON object per"),
    ("minimal_pairs", ["--workdir=lines.txt"], "got --workdir=lines.txt, which cannot be written"),
    ("minimal_pairs", ["--workdir=trained"], "got --workdir=trained, which holds a training run"),
    ("minimal_pairs", ["--splitting=space"], "got --splitting='space'; expected words, spaces"),
    ("minimal_pairs", ["--form=whole_word"], "one of <original|within_word_l2r>"),
    ("minimal_pairs", ["--batch_size=0"], "flag --batch_size=0"),
    ("minimal_pairs", ["--dtype=int8"], "flag --dtype=int8"),
]  # fmt: skip


USUAL = {
    "minimal_pairs": ("--checkpoint=hf", "--pairs=pairs.jsonl", "--workdir=out"),
    "extract_features": ("--checkpoint=hf", "--input=lines.txt", "--output=out.npz"),
    "score_sentences": ("--checkpoint=hf", "--input=keys.jsonl", "--output=out.jsonl"),
}


def arguments(experiment, wrong):
    """The wrong flags, and beside them the ones that the command cannot do without."""
    usual = () if wrong == ["--checkpoint=hf"] else USUAL.get(experiment, ())
    names = [flag.split("=")[0] for flag in wrong]
    return [flag for flag in usual if flag.split("=")[0] not in names] + wrong


@pytest.mark.parametrize("experiment", list(dict.fromkeys(name for name, *_ in MISTAKES)))
def test_every_flag_wrong_on_purpose(folder, experiment):
    mistakes = [(wrong, said) for name, wrong, said in MISTAKES if name == experiment]
    before = sorted(path.name for path in folder.iterdir())
    cases = [arguments(experiment, wrong) for wrong, _ in mistakes]
    outcomes = run_each(experiment, cases, folder, TEXT if experiment == "fill_mask" else "")
    for (wrong, said), outcome in zip(mistakes, outcomes, strict=True):
        assert outcome.status == 2 and said in outcome.errors, (wrong, outcome)
        lines = [line for line in outcome.errors.splitlines() if "elapsed" not in line]
        assert len(lines) == 1 and outcome.printed == "", (wrong, outcome)
    assert sorted(path.name for path in folder.iterdir()) == before
