"""convert, fill_mask and extract_features from their command lines, rightly and wrongly."""

import dataclasses
import json

import numpy as np
import pytest

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.ours import save_ours
from bert_jax.convert.pretrained import load_pretrained
from bert_jax.convert.sentence_encoders import SentenceEncoder
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
    (folder / "lines.txt").write_text("un read\n\nreading é\n", encoding="utf-8")
    params = {**before.params, "mlm": {**before.params["mlm"], "bias": np.full(11, np.nan)}}
    save_huggingface(dataclasses.replace(before, params=params), folder / "nan")
    save_huggingface(dataclasses.replace(before, sentences=SentenceEncoder()), folder / "lstm")
    modules = folder / "lstm" / "modules.json"
    modules.write_text(modules.read_text().replace("models.Pooling", "models.LSTM"))
    (folder / "bad.txt").write_bytes(b"fine\nun\xff\n")
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
    message = "standard input, line 3: got bytes that are no UTF-8 (at byte 0 of the line)"
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


MISTAKES = [
    ("convert", [], "got no --from or no --to"),
    ("convert", ["--from=nowhere!", "--to=x"], "got 'nowhere!', where there is nothing"),
    ("convert", ["--from=lines.txt", "--to=x"], "got lines.txt, which is no checkpoint"),
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
    ("extract_features", ["--input=bad.txt"], "got line 2 of --input=bad.txt with bytes that"),
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
    ("extract_features", ["lines.txt"], "got 'lines.txt' beside the flags"),
]  # fmt: skip


def arguments(experiment, wrong):
    """The wrong flags, and beside them the ones that extract_features cannot do without."""
    if experiment != "extract_features" or wrong == ["--checkpoint=hf"]:
        return wrong
    usual = ("--checkpoint=hf", "--input=lines.txt", "--output=out.npz")
    names = [flag.split("=")[0] for flag in wrong]
    return [flag for flag in usual if flag.split("=")[0] not in names] + wrong


@pytest.mark.parametrize("experiment", ["convert", "unpickle", "fill_mask", "extract_features"])
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
