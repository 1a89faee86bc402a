"""A model goes to the hub and comes back, by a stand-in on localhost."""

import re

import numpy as np
import pytest

from bert_jax.convert.huggingface import save_huggingface
from bert_jax.convert.pretrained import load_pretrained
from tests.convert import models
from tests.experiments.runs import run_each
from tests.hub import TOKEN, serve


def first_bias(model):
    return float(np.asarray(model.params["mlm"]["bias"])[0])


@pytest.fixture(scope="module")
def pushed(tmp_path_factory):
    """A folder, the hub, and what each command said."""
    folder = tmp_path_factory.mktemp("push")
    for seed in (0, 1):
        before = models.pretrained("BertForPreTraining", models.tokenizer(), seed=seed)
        save_huggingface(before, folder / f"model{seed}")
    environment = pytest.MonkeyPatch()
    with serve() as (hub, endpoint):
        other = hub.commit("someone/pickled", {"config.json": b"{}", "pytorch_model.bin": b""})
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_TOKEN": TOKEN,
                    "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
        for name, value in settings.items():
            environment.setenv(name, value)
        first, second = run_each(
            "convert",
            [
                ("--from=model0", "--to=a", "--push_to_hub=lab/small-bert", "--private"),
                ("--from=model1", "--to=b", "--push_to_hub=lab/small-bert"),
            ],
            folder,
        )
        old, new = hub.commits["lab/small-bert"]
        commands = [
            (f"--from=lab/small-bert@{old}", "--to=old"),
            ("--from=lab/small-bert", "--to=new"),
            ("--from=lab/small-bert", "--to=ours", "--format=ours"),
            ("--from=someone/pickled", "--to=x"),
            (f"--from=lab/small-bert@{old[::-1]}", "--to=x"),
        ]
        outcomes = run_each("convert", commands, folder)
        environment.setenv("HF_TOKEN", "hf_who_may_not")
        refused = run_each(
            "convert", [("--from=model0", "--to=c", "--push_to_hub=lab/other")], folder
        )
    environment.undo()
    return folder, hub, (old, new, other), (first, second, *outcomes, *refused)


def test_the_commit_is_printed_and_holds_the_directory(pushed):
    folder, hub, (old, new, _), (first, second, *_) = pushed
    assert (first.status, first.errors) == (second.status, second.errors) == (0, "")
    assert f"lab/small-bert@{old}" in first.printed and f"lab/small-bert@{new}" in second.printed
    assert hub.private == {"lab/small-bert": True}
    for commit, made in ((old, "a"), (new, "b")):
        files = {file.name: file.read_bytes() for file in (folder / made).iterdir()}
        assert hub.commits["lab/small-bert"][commit] == files
        assert (
            b"# lab/small-bert" in files["README.md"] and TOKEN.encode() not in files["README.md"]
        )


def test_a_revision_is_honoured_and_recorded(pushed):
    folder, _, (old, new, _), (_, _, *outcomes) = pushed
    assert [(each.status, each.errors) for each in outcomes[:3]] == [(0, "")] * 3
    for made, commit, source in (("old", old, "model0"), ("new", new, "model1")):
        after = load_pretrained(folder / made)
        assert first_bias(after) == first_bias(load_pretrained(folder / source))
        assert f"| from | lab/small-bert@{commit} |" in (folder / made / "README.md").read_text()
    assert first_bias(load_pretrained(folder / "new")) != first_bias(
        load_pretrained(folder / "old")
    )
    assert load_pretrained(folder / "ours").origin == f"lab/small-bert@{new}"


def test_what_the_hub_does_not_give_or_take_is_one_line(pushed):
    _, hub, (old, *_), (*_, pickled, absent, refused) = pushed
    assert [each.status for each in (pickled, absent, refused)] == [2, 2, 2]
    assert "someone/pickled, whose weights (pytorch_model.bin) are pickled" in pickled.errors
    assert f"got 'lab/small-bert@{old[::-1]}'" in absent.errors
    assert "lab/other, to which the Hugging Face hub did not let c be pushed" in refused.errors
    assert re.search("`hf auth login`, or HF_TOKEN", refused.errors)
    assert "lab/other" not in hub.commits
