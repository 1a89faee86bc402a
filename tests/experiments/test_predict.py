"""experiments.predict labels files and standard input as the fine-tuned model does."""

import json

import pytest

from tests.experiments.runs import run_each
from tests.tasks.examples import TASKS, assert_says_the_same, save_finetuned


def written(name, example):
    """An example as a line of JSON."""
    if name == "tagging":
        row = {"words": example.words}
    elif name == "qa":
        row = {"id": example.id, "question": example.question, "context": example.context}
    elif name == "multiple_choice":
        row = {"question": example.text, "choices": example.choices}
    else:
        row = {"text": example.text} | ({"pair": example.pair} if example.pair else {})
    return json.dumps(row)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By task, what was said of a file and of standard input; and what had to be."""
    folder = tmp_path_factory.mktemp("predict")
    cases, texts, expected = [], [], {}
    for name, (_, examples) in TASKS.items():
        expected[name] = save_finetuned(folder / name, name)
        lines = [written(name, example) for example in examples]
        (folder / f"{name}.jsonl").write_text("\n\n".join(lines) + "\n")
        cases.append([f"--checkpoint={name}", f"--input={name}.jsonl", f"--output={name}.out"])
        plain = lines
        if name == "tagging":
            plain = [" ".join(example.words) for example in examples]
        elif name in ("classification", "one text", "regression"):
            plain = ["\t".join(filter(None, (e.text, e.pair))) for e in examples]
        cases.append([f"--checkpoint={name}", "--chunk=3", "--output=-"])
        texts += ["", "\n".join(plain)]
    done = run_each("predict", cases, folder, texts=texts)
    assert [each.status for each in done] == [0] * len(cases), [each.errors for each in done]
    return folder, dict(zip(TASKS, zip(done[::2], done[1::2], strict=True), strict=True)), expected


@pytest.mark.parametrize("name", TASKS)
def test_a_file_and_standard_input_get_the_labels_of_the_model(outcomes, name):
    folder, done, expected = outcomes
    of_file = (folder / f"{name}.out").read_text().splitlines()
    of_input = done[name][1].printed.splitlines()
    assert done[name][0].printed == ""
    for rows in (of_file, of_input):
        assert len(rows) == 10
        for row, other in zip(rows, expected[name], strict=True):
            assert_says_the_same(json.loads(row), other)
