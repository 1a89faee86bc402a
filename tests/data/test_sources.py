import gzip
import json
import os

import pytest

from bert_jax.data import document, text_files
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError


def read(inputs, **options):
    return [(d.name, d.text) for d in open_source(inputs, **options)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


BLOCKS = "Alpha\nFirst paragraph.\n\n\nBeta\n  Second. Third. \n \nGamma"


def test_a_text_file_is_one_document(here):
    (here / "a.txt").write_bytes(b"\xef\xbb\xbfTitle\r\n\r\nText\xc3\xa9.\n")
    assert read("a.txt") == [("a.txt", "Title\r\n\r\nTexté.\n")]


def test_blocks_are_documents_and_lines_paragraphs(here):
    expected = [
        ("x:1", "Alpha\n\nFirst paragraph."),
        ("x:2", "Beta\n\nSecond. Third."),
        ("x:3", "Gamma"),
    ]
    (here / "x").write_text(BLOCKS)
    assert read("x", text_format="blocks") == expected
    (here / "x.docs.txt").write_text(BLOCKS.replace("\n", "\r\n"))
    assert read("x.docs.txt") == [(n.replace("x", "x.docs.txt"), t) for n, t in expected]


def test_one_sentence_a_line_as_the_original_bert_reads_it(here):
    (here / "x").write_text(BLOCKS)
    assert read("x", text_format="sentences") == [
        ("x:1", ("Alpha", "First paragraph.")),
        ("x:2", ("Beta", "Second. Third.")),
        ("x:3", ("Gamma",)),
    ]
    (here / "x.sents.txt").write_text("One.\nTwo.\n")
    assert read("x.sents.txt") == [("x.sents.txt:1", ("One.", "Two."))]


def test_json_lines(here):
    rows = [{"text": "a\nb", "title": "A"}, {"text": "c", "title": "C"}]
    (here / "x.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    assert read("x.jsonl") == [("x.jsonl:1", "a\nb"), ("x.jsonl:3", "c")]
    assert read("x.jsonl", text_column="title") == [("x.jsonl:1", "A"), ("x.jsonl:3", "C")]


@pytest.mark.parametrize("name", ["a.txt.gz", "no_suffix"])
def test_gzip_is_seen_by_content(here, name):
    (here / name).write_bytes(gzip.compress(b"Some text."))
    assert read(name) == [(name, "Some text.")]


def test_gzipped_json_lines(here):
    (here / "x.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert read("x.jsonl.gz") == [("x.jsonl.gz:1", "a")]


def test_folders_globs_and_several_inputs_come_in_order(here):
    for name in [
        "b/2.txt",
        "b/1.md",
        "b/c/wiki_00",
        "b/.hidden",
        "b/.git/x.txt",
        "b/p.png",
        "a.txt",
    ]:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(name)
    assert [text for _, text in read("b")] == ["b/1.md", "b/2.txt", "b/c/wiki_00"]
    assert [text for _, text in read("b/*.*")] == ["b/1.md", "b/2.txt", "b/p.png"]
    assert [text for _, text in read("**/*.txt")] == ["a.txt", "b/2.txt"]
    assert [text for _, text in read(["b/2.txt", "a.txt"])] == ["b/2.txt", "a.txt"]


def test_sources_can_be_read_again_and_say_what_they_are(here):
    (here / "a.txt").write_text("one")
    (here / "b.txt").write_text("three")
    source = open_source(["a.txt", "b.txt"])
    assert [d.source_bytes for d in source] == [d.source_bytes for d in source] == [3, 5]
    assert source.total_bytes == 8
    before = source.identity
    assert open_source(["a.txt", "b.txt"]).identity == before
    assert open_source(["a.txt", "b.txt"], text_format="blocks").identity != before
    os.utime(here / "a.txt", ns=(1, 1))
    assert open_source(["a.txt", "b.txt"]).identity != before


def test_bad_utf8_is_replaced_and_counted(here):
    (here / "a.txt").write_bytes(b"caf\xe9 \xff\xfe ok \xef\xbf\xbd")
    (found,) = open_source("a.txt")
    assert found.text == "caf\ufffd \ufffd\ufffd ok \ufffd"
    assert found.bad_bytes == 3


@pytest.mark.parametrize("text_format", ["text", "blocks", "sentences"])
@pytest.mark.parametrize("gap", ["", " ", "\n", "\n\n"])
def test_what_is_too_long_is_cut_but_nothing_is_lost(here, monkeypatch, text_format, gap):
    monkeypatch.setattr(text_files, "LONGEST_DOCUMENT", 64)
    text = gap.join(["Größe", "中文", "🤗", "abc"] * 40)
    (here / "a.txt").write_text(text)
    documents = list(open_source("a.txt", text_format=text_format))
    assert len(documents) > 4
    assert sum(d.bad_bytes for d in documents) == 0
    parts = [d.text if isinstance(d.text, str) else "".join(d.text) for d in documents]
    assert max(len(part.encode()) for part in parts) <= 64 + 64 * len(gap)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert len({d.name for d in documents}) == len(documents)


def test_long_json_texts_are_cut(here, monkeypatch):
    monkeypatch.setattr(document, "LONGEST_DOCUMENT", 10)
    (here / "x.jsonl").write_text(json.dumps({"text": "0123456789" * 2 + "ab"}))
    assert read("x.jsonl") == [
        ("x.jsonl:1", "0123456789"),
        ("x.jsonl:1#2", "0123456789"),
        ("x.jsonl:1#3", "ab"),
    ]


def test_longest_document_is_read_in_bounded_pieces():
    assert document.LONGEST_DOCUMENT == 8 * 1024 * 1024


@pytest.mark.parametrize(
    "name, content, options, message",
    [
        ("x.bin", b"\x7fELF\0\0", {}, "holds bytes of value 0, so it is not text"),
        ("x.txt", "utf sixteen".encode("utf-16-le"), {}, "expected UTF-8"),
        ("x.gz", gzip.compress(b"a" * 9999, mtime=0)[:30], {}, "broken gzip"),
        ("x.gz", gzip.compress(b"abc" * 99, mtime=0)[:-8] + b"00000000", {}, "cannot be read: CRC"),
        ("x.jsonl", b'{"text": "a"}\n{"tex', {}, "x.jsonl, line 2: got invalid JSON"),
        ("x.jsonl", b"[1]", {}, "line 1: got list; expected an object with a string 'text'"),
        ("x.jsonl", b'{"body": "a"}', {}, r"got \['body'\]; expected .* `text_column`"),
        ("x.jsonl", b'{"text": 1}', {}, "expected an object with a string 'text'"),
        ("x.txt", b"", {"text_format": "html"}, "got format 'html'; expected one of auto, text"),
    ],
    ids=range(9),  # bytes make poor names
)
def test_mistakes_are_one_line(here, name, content, options, message):
    (here / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read(name, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inputs", ["nope.txt", "nope/*.txt", "", [], ["a", ""]])
def test_nothing_there(here, inputs):
    with pytest.raises(UserError, match="expected"):
        open_source(inputs)


def test_empty_folder(here):
    (here / "empty").mkdir()
    with pytest.raises(
        UserError, match=r"got input 'empty', where there is no file; expected files"
    ):
        open_source("empty")
