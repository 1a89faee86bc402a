"""Every flag of finetune and predict, wrong on purpose: one line, status 2, nothing left behind."""

import json

import pytest
from flax import nnx

from bert_jax import BertConfig
from bert_jax.model.task_heads import BertForSequenceClassification
from tests.experiments.finetuning import write_checkpoint, write_texts
from tests.experiments.runs import run_each
from tests.text.vocabulary import small_tokenizer


def squad(*qas, context="The cafe is in Paris."):
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}]}


def asked(text, start):
    return {"id": "1", "question": "Where?", "answers": [{"text": text, "answer_start": start}]}


SQUAD = {
    "start_text.json": squad(asked("Paris", "15")),
    "context_null.json": squad(asked("Paris", 15), context=None),
    "data_null.json": {"data": None},
    "qa_not_object.json": squad("x"),
    "answer_number.json": squad(asked(1999, 15)),
    "twice.json": squad(asked("Paris", 15), asked("Paris", 15)),
    "not_there.json": squad(asked("London", 15)),
}
FIRST = ".json, article 1, paragraph 1, question 1: got "
FINETUNE = {
    "--task=qa --train=start_text.json": f'start_text{FIRST}answer_start = "15"; expected a whole',
    "--task=qa --train=context_null.json": f"context_null{FIRST}context = null; expected a text",
    "--task=qa --train=data_null.json": "got data_null.json, which is not a SQuAD file (data =",
    "--task=qa --train=qa_not_object.json": f'qa_not_object{FIRST}"x"; expected an object with id',
    "--task=qa --train=answer_number.json": f"answer_number{FIRST}text = 1999; expected a text",
    "--task=qa --train=twice.json": "question 2: got id '1', which twice.json, article 1, para",
    "--task=qa --train=not_there.json --dev=not_there.json": (
        f"not_there{FIRST}answer 'London' with answer_start 15, where the context has 'Paris.';"
        " expected the place of the answer in characters (1 of 1 answers are not found:"
        " --bad_answers=skip leaves them out)"
    ),
    "--task=qa --train=not_there.json --dev=not_there.json --bad_answers=skip": (
        f"not_there{FIRST}no answer that occurs in its context; expected at least one"
    ),
    "--bad_answers=skip --task=squad": "got --bad_answers=skip for --task=squad; expected it for",
    "--bad_answers=drop": "flag --bad_answers=drop: value should be one of <refuse|skip>",
    "--bad_answers=skip": "got --bad_answers=skip for --task=classification; expected it for",
    "--task=sorting": "got --task=sorting; expected one of classification, multi_label",
    "--task=glue/colo": "got GLUE task 'colo'; expected one of cola, sst2",
    "--task=": "got no --task",
    "--task=regression": "train.tsv, line 2: got label 'dogs'; expected a number",
    "--task=qa": "which is not a SQuAD file",
    "--task=multiple_choice": "train.tsv, line 1: got invalid JSON",
    "--checkpoint=nowhere/at/all": "got 'nowhere/at/all', which does not exist",
    "--checkpoint=": "got no --checkpoint",
    "--train=": "got --task=classification without --train",
    "--train=nowhere.tsv": "got nowhere.tsv, which cannot be read (No such file",
    "--train=broken.tsv": "broken.tsv, line 3: got 1 fields; expected 2",
    "--train=one.tsv": "got the label 'cats' only in one.tsv; expected at least two classes",
    "--train=tfds:x": "got tfds:x; expected tfds:NAME:SPLIT",
    "--dev=other.tsv": "other.tsv, line 3: got label 'cows'; expected one of cats, dogs",
    "--test=other.tsv": "other.tsv, line 3: got label 'cows'; expected one of cats, dogs",
    "--columns=a,a": "got the columns a, a for train.tsv; expected distinct names",
    "--columns=a,b": "got --text_column=text, which train.tsv lacks; expected one of its columns",
    "--text_column=body": "got --text_column=body, which train.tsv lacks",
    "--text_pair_column=b": "got --text_pair_column=b, which train.tsv lacks",
    "--label_column=class": "got --label_column=class, which train.tsv lacks",
    "--train=empty.tsv": "empty.tsv, line 3: got label ' '; expected a text or a number",
    "--dev=empty.tsv": "empty.tsv, line 3: got label ' '; expected a text or a number",
    "--label_columns=a,b": "got --label_columns=a,b for --task=classification; expected it for a",
    "--label_delimiter=|": "got --label_delimiter=| for --task=classification; expected it for",
    "--task=multi_label": "train.tsv, line 2: got label 'dogs'; expected a list of labels",
    "--task=multi_label --label_columns=a,b": "got --label_columns=a, which train.tsv lacks",
    "--task=multi_label --label_columns=label": "line 2: got label = 'dogs'; expected 0 or 1",
    "--task=multi_label --label_columns=label --label_delimiter=|": (
        "got --label_columns=label with --label_delimiter=|; expected a column for each label"
    ),
    "--task=multi_label --label_delimiter=| --dev=other.tsv": (
        "other.tsv, line 3: got label 'cows'; expected one of cats, dogs"
    ),
    "--leave_out_labels=cats,dogs": (
        "got --leave_out_labels=cats,dogs, which leaves no example of --train"
    ),
    "--leave_out_labels=- --task=multiple_choice --train=choices.jsonl --dev=choices.jsonl": (
        "got --leave_out_labels=- for --task=multiple_choice; expected it for a task of"
    ),
    "--leave_out_labels=- --task=glue/cola": (
        "got --leave_out_labels=- for --task=glue/cola; expected it for a task of"
    ),
    "--dev_fraction=1": "got --dev_fraction=1.0; expected a share of at least 0 and below 1",
    "--test_fraction=-1": "got --test_fraction=-1.0; expected a share",
    "--split_seed=-1": "flag --split_seed=-1",
    "--epochs=0": "flag --epochs=0: 0 is not a positive integer",
    "--learning_rate=fast": "got --learning_rate=fast; expected a number",
    "--batch_size=3": "got batches of 3 rows; expected a multiple of 8",
    "--max_length=4": "flag --max_length=4",
    "--max_length=65": "got --max_length=65; expected at most the model's 64 positions",
    "--window_overlap=-1": "flag --window_overlap=-1",
    "--compilation_cache=no": "got --compilation_cache=no; expected a folder, or off",
    "--compilation_cache=train.tsv": "got --compilation_cache=train.tsv, which cannot be used (",
    "--seeds=a": "got --seeds=a; expected whole numbers of at least 0",
    "--seeds=1,1": "got --seeds=1,1; expected whole numbers of at least 0",
    "--grid=epochs": "got --grid=epochs; expected NAME=value,value with one of epochs",
    "--grid=task=qa": "got --grid=task=qa; expected NAME=value,value",
    "--grid=layer_decay=2": "got --layer_decay=2.0; expected above 0 and at most 1",
    "--optimizer=sgdd": "flag --optimizer=sgdd: value should be one of <adamw|bert_adam|",
    "--warmup=-1": "flag --warmup=-1",
    "--weight_decay=-1": "flag --weight_decay=-1",
    "--clip_norm=-1": "flag --clip_norm=-1",
    "--layer_decay=0": "got --layer_decay=0.0; expected above 0 and at most 1",
    "--head_learning_rate=-1": "flag --head_learning_rate=-1",
    "--freeze_embeddings=perhaps": "flag --freeze_embeddings=perhaps: ('Non-boolean argument",
    "--scan_layers=perhaps": "flag --scan_layers=perhaps: ('Non-boolean argument",
    "--choices_column=options --task=multiple_choice --train=choices.jsonl": (
        "choices.jsonl, line 1: got options = None; expected a list of at least two texts"
    ),
    "--freeze_layers=2": "got --freeze_layers=2; expected 0 to 1, the model's layers",
    "--class_weights=cows:2": "got --class_weights=cows:2; expected balanced, or name:weight pairs",
    "--class_weights=cats:x": "got --class_weights=cats:x; expected balanced",
    "--dropout=1": "flag --dropout=1",
    "--patience=-1": "flag --patience=-1",
    "--evals_per_epoch=0": "flag --evals_per_epoch=0",
    "--splitting=space": "got --splitting='space'; expected words, spaces or a regular expression",
    "--dtype=float16": "flag --dtype=float16: value should be one of <float32|bfloat16>",
    "--attention=ring": "flag --attention=ring: value should be one of <auto|einsum|flash|fused",
    "--attention=flash": "got --attention=flash on cpu devices; expected an NVIDIA GPU or a TPU",
    "--attention=fused": "got --attention=fused, which drops no attention weights, for a model",
    "--mesh=data:3": "got mesh dcn:1 x data:3 x fsdp:1 x tensor:1; expected sizes whose product is",
    "--log_every=0": "flag --log_every=0",
    "--workdir=train.tsv/run": "got --workdir=train.tsv/run, which cannot be written",
    "--tsak=qa": "Unknown command line flag 'tsak'. Did you mean: task ?",
}  # fmt: skip
PREDICT = {
    "--checkpoint=": "got no --checkpoint; expected one that was fine-tuned",
    "--checkpoint=model": "got a checkpoint of BertModel, which has no task",
    "--splitting=(C": "got --splitting='(C', which is not a valid regular expression",
    "--input=nowhere.txt": "got --input=nowhere.txt, which cannot be read (No such file",
    "--input=odd.jsonl": "odd.jsonl, line 1: got text = None; expected a text that is not empty",
    "--input=late.txt --chunk=1": "late.txt, line 3: got text that is not valid UTF-8 (at byte 1",
    "--output=nowhere/x": "nowhere/x', which cannot be written",
    "--text_column=body": "line 1: got body = None; expected a text",
    "--text_pair_column=b --input=both.tsv": "got --text_pair_column=b, which both.tsv lacks",
    "--columns=a,a --input=both.tsv": "got the columns a, a for both.tsv; expected distinct names",
    "--choices_column=": "odd.jsonl, line 1: got text = None",
    "--format=table": "flag --format=table: value should be one of <lines|training>",
    "--on_error=skip": "flag --on_error=skip: value should be one of <stop|mark>",
    "--chunk=0": "flag --chunk=0",
    "--batch_rows=0": "flag --batch_rows=0",
    "--dtype=float16": "flag --dtype=float16",
    "--inptu=x": "Unknown command line flag 'inptu'",
}


def run_cases(program, cases, usual, folder):
    lines = []
    for number, wrong in enumerate(cases):
        names = [flag.removeprefix("--").split("=")[0] for flag in wrong.split()]
        given = {k: str(v).format(number=number) for k, v in usual.items() if k not in names}
        lines.append([*(f"--{k}={v}" for k, v in given.items()), *wrong.split()])
    return dict(zip(cases, run_each(program, lines, folder), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    write_checkpoint(folder)
    write_texts(folder)
    choices = {"question": "Who?", "choices": ["cats", "dogs"], "answer": 0}
    (folder / "choices.jsonl").write_text(json.dumps(choices) + "\n")
    for name, content in SQUAD.items():
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def finetuned(folder):
    usual = {
        "workdir": "run{number}", "task": "classification", "checkpoint": "model",
        "train": "train.tsv", "dev": "dev.tsv", "batch_size": 8, "max_length": 32,
    }  # fmt: skip
    return run_cases("finetune", FINETUNE, usual, folder)


@pytest.mark.parametrize("wrong", FINETUNE)
def test_a_mistake_in_finetune_is_one_line(finetuned, folder, wrong):
    done = finetuned[wrong]
    assert FINETUNE[wrong] in done.errors
    assert done.status == 2
    lines = [line for line in done.errors.splitlines() if "elapsed" not in line]
    assert len(lines) == 1 and lines[0].startswith("experiments.")
    assert not (folder / f"run{list(FINETUNE).index(wrong)}").exists()


@pytest.fixture(scope="module")
def predicted(folder):
    (folder / "odd.jsonl").write_text('{"txt": "yes"}\n')
    (folder / "both.tsv").write_text("text\tlabel\nyes\tcats\n")
    (folder / "late.txt").write_bytes(b"yes\n\na\xff\n")
    tokenizer = small_tokenizer()
    config = BertConfig.from_json(folder / "model" / "config.json")
    model = BertForSequenceClassification(config, nnx.Rngs(0))
    model.save_pretrained(folder / "classifier", tokenizer, ["no", "yes"])
    (folder / "texts.txt").write_text("yes\n\nhow are you\n")
    usual = {"checkpoint": "classifier", "input": "odd.jsonl", "output": "out{number}.jsonl"}
    return run_cases("predict", PREDICT, usual, folder)


@pytest.mark.parametrize("wrong", PREDICT)
def test_a_mistake_in_predict_is_one_line(predicted, folder, wrong):
    done = predicted[wrong]
    assert PREDICT[wrong] in done.errors
    assert done.status == 2
    assert len([line for line in done.errors.splitlines() if "elapsed" not in line]) == 1
    assert (
        not list(folder.glob(".*.partial-*"))
        and not (folder / f"out{list(PREDICT).index(wrong)}.jsonl").exists()
    )
