"""The same command by URL and by path: the same bytes and refusals, and nothing half there."""

import json

import numpy as np
import pytest

from bert_jax.bucket import Prefix
from bert_jax.data.corpus import Corpus
from bert_jax.mirror import as_given, at_hand
from bert_jax.tables.storage import load_tables
from bert_jax.text.tokenizer import Tokenizer
from tests.buckets.servers import BUCKET
from tests.convert.models import PIECES, model
from tests.experiments.runs import run, run_each

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:botocore")

TEXT = "".join(
    f"The {animal} of house {n} sleeps on a mat.\nIt dreams of {n} mice.\n\n"
    for n in range(40)
    for animal in ("cat", "dog")
)


@pytest.fixture
def texts(bucket, tmp_path):
    """The same text in a folder and in a bucket."""
    for name in ("one.docs.txt", "two.docs.txt"):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / name).write_text(TEXT.replace("mat", name[:3]))
        Prefix(f"{bucket}/texts").put(tmp_path / "texts" / name, name)
    return bucket


def contents(prefix):
    return {name: prefix.read(name) for name in prefix.objects()}


def test_vocabulary_and_corpus_by_url_are_those_by_path(texts, tmp_path):
    bucket = texts
    sizes = ["--vocab_size=90"]
    made = run_each(
        "learn_vocab",
        [
            [*sizes, "--input=texts", "--output=v.txt", "--save_word_counts=counts"],
            [*sizes, f"--input={bucket}/texts", f"--output={bucket}/made/v.txt"],
            [*sizes, f"--input={bucket}/te*/*.txt", f"--output={bucket}/made/v.txt"],
            [*sizes, f"--input={bucket}/none", f"--output={bucket}/made/w.txt"],
            [
                f"--input={bucket}/texts",
                f"--output={bucket.replace('one', 'none')}/v.txt",
                "--overwrite",
            ],
        ],
        tmp_path,
    )
    assert [done.status for done in made] == [0, 0, 2, 2, 2], made
    assert "v.txt is already" in made[2].errors and "where there is no file" in made[3].errors
    assert all(done.errors.count("\n") == 1 for done in made[2:]), made
    there = contents(Prefix(f"{bucket}/made"))
    assert set(there) == {"v.txt", "v.txt.json", "v.txt.svg"}
    assert there["v.txt"] == (tmp_path / "v.txt").read_bytes()
    assert f"{bucket}/made/v.txt" in made[1].printed

    flags, vocab = ["--workers=1", "--input"], f"--vocab={bucket}/made/v.txt"
    built = run_each(
        "build_corpus",
        [
            [*flags, "texts", "--data_dir=corpus", "--vocab=v.txt"],
            [*flags, f"{bucket}/texts", f"--data_dir={bucket}/corpus", vocab],
            [*flags, f"{bucket}/texts", f"--data_dir={bucket}/corpus", vocab],
            [*flags, f"{bucket}/texts/one*", f"--data_dir={bucket}/corpus", "--vocab=v.txt"],
            [*flags, f"{bucket}/texts", f"--data_dir={bucket}/made", "--vocab=v.txt"],
        ],
        tmp_path,
    )  # fmt: skip
    assert [done.status for done in built] == [0, 0, 0, 2, 2], built
    assert f"{bucket}/corpus: built" in built[1].printed
    assert "was built before" in built[2].printed
    assert "another input" in built[3].errors and "something else" in built[4].errors
    there = contents(Prefix(f"{bucket}/corpus"))
    corpus = tmp_path / "corpus"
    here = {p.relative_to(corpus).as_posix(): p for p in corpus.rglob("*") if p.is_file()}
    assert set(there) == set(here)
    for name, content in there.items():
        if name.startswith("arrays/") or name in ("vocab.txt", "features.json"):
            assert content == here[name].read_bytes(), name
    assert contents(Prefix(f"{bucket}/made")).keys() == {"v.txt", "v.txt.json", "v.txt.svg"}


def test_a_damaged_copy_of_a_corpus_is_fetched_anew(gcs, tmp_path, new_machine):
    bucket = f"gs://{BUCKET}"
    Prefix(f"{bucket}/texts").write("one.docs.txt", TEXT.encode())
    build = ["--workers=1", f"--input={bucket}/texts", f"--data_dir={bucket}/c", "--vocab_size=90"]
    assert run("build_corpus", *build, cwd=tmp_path).status == 0
    corpus = Corpus.open(f"{bucket}/c")
    pieces = corpus.train.pieces.tolist()
    file = next((corpus.data_dir / "arrays/train").glob("pieces*"))
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    assert Corpus.open(f"{bucket}/c").train.pieces.tolist() == pieces
    assert as_given(corpus.data_dir) == f"{bucket}/c"
    new_machine("other")
    again = run("build_corpus", *build, cwd=tmp_path)
    assert again.status == 0 and "was built before" in again.printed


def test_documents_are_named_by_their_urls(texts):
    bucket = texts
    from bert_jax.data.sources import open_source

    source = open_source(f"{bucket}/texts/*.txt")
    assert next(iter(source)).name.startswith(f"{bucket}/texts/one.docs.txt:")
    assert source.identity == open_source(f"{bucket}/texts").identity
    assert source.names == (f"{bucket}/texts/*.txt",)


def test_a_source_is_the_same_on_every_machine(texts, new_machine):
    from bert_jax.data.sources import open_source

    before = open_source(f"{texts}/texts").identity
    new_machine("other")
    assert open_source(f"{texts}/texts").identity == before
    Prefix(f"{texts}/texts").write("one.docs.txt", b"changed")
    assert open_source(f"{texts}/texts").identity != before
    assert at_hand(f"{texts}/texts/one.docs.txt").read_text() == "changed"


def test_models_and_tables_by_url_are_those_by_path(gcs, tmp_path):
    bucket = f"gs://{BUCKET}"
    model("BertForMaskedLM").save_pretrained(f"{bucket}/model", Tokenizer(PIECES))
    model("BertForMaskedLM").save_pretrained(tmp_path / "model", Tokenizer(PIECES))
    for name, content in contents(Prefix(f"{bucket}/model")).items():
        assert content == (tmp_path / "model" / name).read_bytes(), name
    source = f"--from={bucket}/model"
    converted = run_each(
        "convert",
        [
            ["--from=model", "--to=ours", "--format=ours"],
            [source, f"--to={bucket}/ours", "--format=ours"],
            [source, f"--to={bucket}/ours", "--format=ours"],
            [f"--from={bucket}/ours", "--to=back"],
            [f"--from={bucket}/none", "--to=none"],
            [source, f"--to={bucket}/model/config.json"],
        ],
        tmp_path,
    )
    assert [done.status for done in converted] == [0, 0, 2, 0, 2, 2], converted
    assert "which is not empty" in converted[2].errors and f"{bucket}/ours" in converted[2].errors
    assert f"got {bucket}/none, which does not exist" in converted[4].errors
    assert "which is a file" in converted[5].errors
    assert f"{bucket}/model" in converted[1].printed
    weights = (tmp_path / "back/model.safetensors").read_bytes()
    assert weights == (tmp_path / "model/model.safetensors").read_bytes()

    Prefix(f"{bucket}/lines").write("a.txt", b"unable reading\nread\n")
    (tmp_path / "a.txt").write_text("unable reading\nread\n")
    by_url = [f"--checkpoint={bucket}/ours", f"--input={bucket}/lines/a.txt"]
    extracted = run_each(
        "extract_features",
        [
            ["--checkpoint=ours", "--input=a.txt", "--output=f.npz"],
            [*by_url, f"--output={bucket}/f.npz"],
            [*by_url, f"--output={bucket}/f.npz"],
            [f"--checkpoint={bucket}/ours", f"--input={bucket}/lines", f"--output={bucket}/g.npz"],
        ],
        tmp_path,
    )
    assert [done.status for done in extracted] == [0, 0, 2, 2], extracted
    assert "f.npz is already" in extracted[2].errors
    assert all(done.errors.count("\n") == 1 for done in extracted[2:]), extracted
    here, there = np.load(tmp_path / "f.npz"), np.load(at_hand(f"{bucket}/f.npz"))
    assert all(np.array_equal(here[name], there[name]) for name in here.files)

    edited = run_each(
        "edit_embeddings",
        [
            ["--input=ours", "--output=t.npz", "--positions=20"],
            [f"--input={bucket}/ours", f"--output={bucket}/t.npz", "--positions=20"],
            [f"--input={bucket}/t.npz", f"--output={bucket}/t.vec"],
            [f"--input={bucket}/ours", f"--output={bucket}/longer", "--positions=20"],
            [f"--input={bucket}/ours", f"--output={bucket}/longer", "--positions=20"],
        ],
        tmp_path,
    )
    assert [done.status for done in edited] == [0, 0, 0, 0, 2], edited
    here, there = load_tables(tmp_path / "t.npz"), load_tables(f"{bucket}/t.npz")
    assert np.array_equal(here.position, there.position)
    assert {"t.npz", "t.npz.json", "t.vec", "longer.json", "longer/README.md"} <= set(
        Prefix(bucket).objects()
    )
    card = Prefix(bucket).read("longer/README.md").decode()
    assert "buckets/" not in card

    looked = run_each(
        "inspect_embeddings",
        [
            ["--checkpoint=ours", "--workdir=look", "--min_count=0"],
            [f"--checkpoint={bucket}/ours", f"--workdir={bucket}/look", "--min_count=0"],
            [f"--checkpoint={bucket}/none", f"--workdir={bucket}/nothing"],
        ],
        tmp_path,
    )
    assert [done.status for done in looked] == [0, 0, 2], looked
    assert looked[2].errors.count("\n") == 1
    there = contents(Prefix(f"{bucket}/look"))
    folder = tmp_path / "look"
    assert set(there) == {p.relative_to(folder).as_posix() for p in folder.rglob("*.*")}
    here, there_too = (folder / "result.json").read_text(), there["result.json"].decode()
    found = [json.loads(each) for each in (here, there_too.replace(f"{bucket}/", ""))]
    for each in found:
        assert each.pop("seconds") and each.pop("report_bytes") and each.pop("peak_rss_bytes")
    assert found[0] == found[1] and f"{bucket}/look/report.html" in there_too
    assert not any(b"buckets/" in content for content in there.values())
    assert Prefix(f"{bucket}/nothing").objects() == {}
