"""experiments.predict labels files and standard input as the fine-tuned model does."""

import json

import pytest

from bert_jax.tasks import finetune
from tests.experiments.finetuning import write_checkpoint, write_texts
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
        found = [json.loads(row) for row in rows]
        step = 2 if rows is of_file else 1  # the file has an empty line between two examples
        assert [row.pop("line") for row in found] == list(range(1, 10 * step + 1, step))
        for row, other in zip(found, expected[name], strict=True):
            assert_says_the_same(row, other)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A folder with a model that was fine-tuned on the columns `body` and `label`."""
    folder = tmp_path_factory.mktemp("trained")
    write_texts(folder)
    for path in folder.glob("*.tsv"):
        path.write_text(path.read_text().replace("text\t", "body\t", 1))
    finetune(
        "classification", checkpoint=write_checkpoint(folder), workdir=folder / "run",
        train=str(folder / "train.tsv"), dev=str(folder / "dev.tsv"), test=str(folder / "test.tsv"),
        text_column="body", epochs=1, batch_size=8, max_length=16,
    )  # fmt: skip
    return folder


def test_predict_reads_what_finetune_read(classifier):
    folder = classifier
    learned = [
        json.loads(line)
        for line in (folder / "run/predictions_test.jsonl").read_text().splitlines()
    ]
    table = [row.split("\t") for row in (folder / "test.tsv").read_text().splitlines()]
    (folder / "test.csv").write_text("\n".join(f'"{label}","{body}"' for body, label in table))
    (folder / "bare.tsv").write_text("\n".join("\t".join(row) for row in table[1:]))
    (folder / "bodies.txt").write_text("\n".join(body for body, _ in table[1:]))
    (folder / "objects.jsonl").write_text(
        "\n".join(json.dumps({"label": label, "body": body}) for body, label in table[1:])
    )
    (folder / "odd.csv").write_text('body,label\nthe cats,cats\nthe\n,dogs\n"the ""dogs""",x\n')
    (folder / "mixed.jsonl").write_text('{"body": "the"}\n{"txt": "the"}\n{"bo\n\n{"body": "the"}')
    (folder / "blank.txt").write_text("a moving film\n\na dull film\n")
    usual = ["--checkpoint=run"]
    good = [
        ["--input=test.tsv"], ["--input=test.csv"], ["--input=bare.tsv", "--columns=body,label"],
        ["--input=bodies.txt"], ["--input=objects.jsonl"],
    ]  # fmt: skip
    others = [
        ["--input=odd.csv", "--on_error=mark"], ["--input=mixed.jsonl", "--on_error=mark"],
        ["--input=blank.txt"],
    ]  # fmt: skip
    done = run_each("predict", [[*usual, *case] for case in good + others], folder)
    assert [each.status for each in done] == [0] * len(done), [each.errors for each in done]
    rows = [[json.loads(line) for line in each.printed.splitlines()] for each in done]
    for found, begin in zip(rows, (2, 2, 1, 1, 1), strict=False):
        assert [row.pop("line") for row in found] == list(range(begin, begin + 24))
        for row, other in zip(found, learned, strict=True):
            assert_says_the_same(row, other)
    odd, mixed, blank = rows[len(good) :]
    assert [(row["line"], row.get("text")) for row in odd] == [
        (2, "the cats"), (3, None), (4, None), (5, 'the "dogs"'),
    ]  # fmt: skip
    assert (
        odd[1]["error"] == "odd.csv, line 3: got 1 fields; expected 2, one for each of body, label"
    )
    assert odd[2]["error"] == "odd.csv, line 4: got body = ''; expected a text that is not empty"
    assert [(row["line"], row.get("text")) for row in mixed] == [
        (1, "the"), (2, None), (3, None), (5, "the"),
    ]  # fmt: skip
    assert done[len(good) + 1].errors == "2 of 4 examples are wrong, see their `error`\n"
    assert [(row["line"], row["text"]) for row in blank] == [
        (1, "a moving film"),
        (3, "a dull film"),
    ]


def test_the_questions_of_a_damaged_file_that_can_be_answered_are(outcomes):
    folder, _, _ = outcomes
    good = {"id": "1", "question": "How are you?", "answers": [{"text": 1999}]}  # not looked at
    paragraphs = [
        {"context": "Jose\u0301 lives in Peru\u0301 now.", "qas": [good, "x", {**good, "id": "2"}]},
        {"context": None, "qas": [good, good]},
        {"context": "the cats left", "qas": [{**good, "question": ""}, good]},
    ]
    (folder / "damaged.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}, 5]}))
    usual = ["--checkpoint=qa", "--input=damaged.json"]
    done, stopped = run_each("predict", [[*usual, "--on_error=mark"], usual], folder)
    assert done.status == 0 and done.errors == "5 of 8 examples are wrong, see their `error`\n"
    rows = [json.loads(line) for line in done.printed.splitlines()]
    first = "damaged.json, article 1, paragraph"
    assert [row.get("error", row.get("id")) for row in rows] == [
        "1", f'{first} 1, question 2: got "x"; expected an object with id, question and answers',
        "2", *(f"{first} 2, question {n}: got context = None; expected a text that is not empty"
               for n in (1, 2)),
        f"{first} 3, question 1: got question = ''; expected a text that is not empty", "1",
        "damaged.json, article 2: got 5; expected an object with paragraphs",
    ]  # fmt: skip
    wrong = [row for row in rows if "error" in row]
    assert [row.get("question", row.get("article")) for row in wrong] == [2, 1, 2, 1, 2]
    assert (stopped.status, stopped.errors.count("\n")) == (2, 1)
    assert f"{first} 1, question 2: got" in stopped.errors


FORMS = {  # what a file holds, and of which lines a row comes out; ! of one that is wrong
    "classification": {
        "a.txt": ("the cats\tleft\nyou\n\n \n\tleft\nthe\tcats\tleft\nyou\ti\n", "1 2 !5 !6 7"),
        "a.tsv": ("text\tpair\nthe cats\tleft\n\nyou\t\nyou\n", "2 !4 !5"),
        "a.csv": ('text,pair\n"the\ncats",left\n\nyou,\nyou\n', "3 !5 !6"),
        "a.jsonl": ('{"text": "the \\ud800"}\n\n{"text": "you", "pair": "i"}\n"text"\n[]\n'
                    '{"text": "you", "pair": null}\n{"text": 5}\n', "1 3 !4 !5 6 !7"),
    },
    "one text": {"blank.txt": ("a moving film\n\na dull film\n", "1 3")},
    "regression": {"a.csv": ("text,pair\nthe,cats\n\n\nyou,left\n", "2 5")},
    "tagging": {
        "a.conll": ("\n# id 1\nthe _\n\n\ncats _\nx\n\nyou _", "3 !7 9"),
        "a.tsv": ("the\t\n\n\t\nyou\t", "1 4"),
        "a.conllu": ("# text\n1\tthe" + "\t_" * 8 + "\n\n\n1\tyou\n\n", "2 !5"),
        "a.txt": ("the cats\n\nyou\n", "1 3"),
        "a.jsonl": ('{"words": ["the"]}\n\nyou\n{"words": [5]}\n', "1 !3 !4"),
    },
    "multiple_choice": {"a.jsonl": ('{"question": "how?", "choices": ["a", "b"]}\n\nhow?\n'
                                    '{"question": "how?", "choices": ["a", 5]}\n', "1 !3 !4")},
    "qa": {"a.jsonl": ('{"question": "who?", "context": "the cats"}\n\n{"question": "who?"}\n',
                       "1 !3")},
}  # fmt: skip


def test_a_row_comes_out_for_every_row_in_with_its_line(outcomes):
    folder, _, _ = outcomes
    cases, texts, expected = [], [], []
    for task, forms in FORMS.items():
        for form, (content, lines) in forms.items():
            name = f"{task.split()[0]}_{form}"
            (folder / name).write_bytes(content.encode())
            cases.append([f"--checkpoint={task}", f"--input={name}", "--on_error=mark"])
            texts.append("")
            expected.append(lines)
            if form.endswith(".txt"):  # the same from standard input
                cases.append([f"--checkpoint={task}", "--on_error=mark", "--chunk=2"])
                texts.append(content)
                expected.append(lines)
    done = run_each("predict", cases, folder, texts=texts)
    for case, each, lines in zip(cases, done, expected, strict=True):
        rows = [json.loads(row) for row in each.printed.splitlines()]
        found = " ".join(f"{'!' * ('error' in row)}{row['line']}" for row in rows)
        assert (each.status, found) == (0, lines), (case, each)


MISTAKES = {
    "tab.txt": (b"the cats\tcats\n", "tab.txt, line 1: got 2 fields between tabs; expected one"),
    "head.txt": (b"body\tlabel\nthe\tcats\n", "line 1: got the names of columns, body, label;"),
    "other.tsv": (b"text\tlabel\nthe\tcats\n", "got --text_column=body, which other.tsv lacks"),
    "bare.csv": (b"the,cats\n", "got --text_column=body, which bare.csv lacks"),
    "wide.tsv": (b"body\tlabel\nthe\tcats\tno\n", "wide.tsv, line 2: got 3 fields; expected 2"),
    "bytes.csv": (b"body,label\nthe,cats\n\xff,cats\n", "bytes.csv, line 3: got text that is not"),
    "twice.tsv --columns=body,label": (b"body\tlabel\nthe\tcats\n", "got the names of --columns="),
    "- --format=training": (b"", "got --format=training for standard input; expected a file"),
}  # fmt: skip


def test_a_file_that_is_not_as_in_training_is_refused_by_its_line(classifier):
    cases = []
    for name, (content, _) in MISTAKES.items():
        if not name.startswith("-"):
            (classifier / name.split()[0]).write_bytes(content)
        cases.append(["--checkpoint=run", *f"--input={name} --output=out.jsonl".split()])
    done = run_each("predict", cases, classifier)
    for (_, message), each in zip(MISTAKES.values(), done, strict=True):
        assert (each.status, each.errors.count("\n")) == (2, 1), each
        assert message in each.errors
    assert not (classifier / "out.jsonl").exists()
