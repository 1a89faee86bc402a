"""The command: what it writes of a run, and every flag wrong on purpose."""

import json

import pytest

from bert_jax.convert.ours import save_ours
from tests.analysis.inspectable import ANIMALS, COLOURS, checkpoint
from tests.experiments.runs import run_each

CASES = {
    "--checkpoint=": "got no --checkpoint; expected one",
    "--checkpoint=./nowhere": "got './nowhere', which does not exist",
    "--workdir=run": "got --workdir=run, which holds a training run; expected a directory of its",
    "--input=nowhere.txt": "got nowhere.txt, which cannot be read (No such file or directory)",
    "--input=empty.txt": "got --input=empty.txt, which holds no text; expected one per line",
    "--input=three.tsv": "got 3 columns in line 2 of --input=three.tsv; expected a text, or two",
    "--input=texts.txt --corpus=text": "got --input and --corpus; expected one of them",
    "--input=": "got neither --input nor --corpus, and a checkpoint that brings no corpus",
    "--input= --corpus=nowhere": "got input 'nowhere', where there is no file",
    "--input= --corpus=short": "got --length=128 and no document of short as long; expected a",
    "--checkpoint=low --input= --corpus=text": "got rows of 3 pieces; expected at least 5, as",
    "--splitting=(": "got",
    "--length=4": "flag --length=4",
    "--rows=0": "flag --rows=0",
    "--row=1": "Unknown command line flag 'row'",
    "words": "got 'words' besides the flags",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with two checkpoints, and text that is right and wrong."""
    folder = tmp_path_factory.mktemp("first_attention")
    for step in (1, 2):
        save_ours(checkpoint(step), folder / "run" / "checkpoints" / str(step))
    save_ours(checkpoint(1, positions=3), folder / "low")
    words = [*ANIMALS, *COLOURS]
    (folder / "texts.txt").write_text("cat dog\tred\n\n" + "\n".join(words) + "\n")
    (folder / "three.tsv").write_text("cat\ncat\tdog\tred\n")
    (folder / "empty.txt").write_text("\n")
    for name, times in (("text", 30), ("short", 1)):
        (folder / name).mkdir()
        (folder / name / "0.txt").write_text(" ".join(words) * times)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """What each case printed; the last two are right."""
    usual = {"checkpoint": "run/checkpoints/2", "input": "texts.txt"}
    lines = []
    for number, wrong in enumerate(CASES):
        name = wrong.removeprefix("--").split("=")[0]
        given = {"workdir": f"look{number}", **usual}
        lines.append([f"--{k}={v}" for k, v in given.items() if k != name] + wrong.split(" "))
    lines.append(["--checkpoint=run", "--input=texts.txt", "--rows=4", "--workdir=texts"])
    lines.append(["--checkpoint=run", "--corpus=text", "--length=16", "--workdir=rows"])
    return run_each("first_attention", lines, folder)


@pytest.mark.parametrize("number", range(len(CASES)), ids=list(CASES))
def test_a_mistake_is_one_line_and_leaves_nothing(outcomes, folder, number):
    found, said = outcomes[number], list(CASES.values())[number]
    assert found.status == 2 and said in found.errors, found
    lines = [line for line in found.errors.splitlines() if "elapsed" not in line]
    assert len(lines) == 1 and lines[0].startswith("experiments.first_attention: ")
    assert not (folder / f"look{number}").exists()


@pytest.mark.parametrize("name", ["texts", "rows"])
def test_it_writes_shares_and_attention_of_each_head_and_checkpoint(outcomes, folder, name):
    found = outcomes[-2 if name == "texts" else -1]
    assert found.status == 0, found
    assert "pos → pos" in found.printed and "Attention to the previous place" in found.printed
    result = json.loads((folder / name / "result.json").read_text())
    assert (
        result["over"]
        == {
            "texts": "4 texts of texts.txt, of at most 32 pieces",
            "rows": f"{result['texts']} rows of 16 pieces from text",
        }[name]
    )
    assert result["largest_error"] < 1e-5 * max(1, result["largest_logit"])
    assert [each["step"] for each in result["checkpoints"]] == [1, 2]
    assert result["checkpoints"][1]["heads"] == result["heads"]  # the newest
    for head in result["heads"]:
        assert sum(head["shares"].values()) == pytest.approx(1, abs=1e-4)
        assert sum(term["value"] for term in head["terms"].values()) == pytest.approx(1, abs=1e-3)
        for place in ("previous", "same", "next"):
            mass = head["attention"][place]["all terms"]
            assert 0 < mass["low"] <= mass["value"] <= mass["high"] < 1
    if name == "rows":  # the same place is there for all of 16, the next but for 15
        assert result["uniform"] == {"previous": 0.0625, "same": 0.0625, "next": 0.0625}
