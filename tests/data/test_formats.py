"""The forms text comes in, each in the smallest file that shows it."""

import bz2
import gzip
import json
import lzma
import os

import pyarrow as pa
import pyarrow.parquet
import pytest

from bert_jax.data import byte_streams, document, json_files, wiki_files
from bert_jax.data.document import Document
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError


def read(inputs, **options):
    return [(d.name, d.text) for d in open_source(inputs, **options)]


def texts(inputs, **options):
    return [text for _, text in read(inputs, **options)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


ROWS = [
    {"text": "First page. It has two.", "timestamp": "2020-01-01T00:00:00Z", "url": "u/1"},
    {"text": "Second page. It has two.", "timestamp": "2020-01-01T00:00:00Z", "url": "u/2"},
]
LINES = "\n".join(map(json.dumps, ROWS)) + "\n"


def zstd(data):
    return pa.Codec("zstd").compress(data, asbytes=True)


TEXTS = [row["text"] for row in ROWS]


@pytest.mark.parametrize(
    "name, pack",
    [
        ("c4.00000-of-00002.json", bytes),
        ("c4.00000-of-00002.json.gz", gzip.compress),
        ("x.jsonl.zst", zstd),
        ("two_frames.jsonl.zst", lambda data: b"".join(map(zstd, data.splitlines(True)))),
        ("x.ndjson.bz2", bz2.compress),
        ("x.JSON.XZ", lzma.compress),
        ("wiki_00", bytes),
        ("x.txt", bytes),
    ],
)
def test_json_lines_by_any_name(here, name, pack):
    (here / "in").mkdir()
    (here / "in" / name).write_bytes(pack(LINES.encode()))
    assert texts(f"in/{name}") == texts("in") == TEXTS
    assert texts(f"in/{name}", text_column="url") == ["u/1", "u/2"]
    source = open_source("in")
    assert sum(d.source_bytes for d in source) == source.total_bytes


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("array", [True, False])
def test_json_objects_in_an_array_or_one_after_the_other(here, monkeypatch, indent, array):
    monkeypatch.setattr(json_files, "_CHUNK", 7)
    one_by_one = "\n\n".join(json.dumps(row, indent=indent or 1) for row in ROWS)
    (here / "x.json").write_text(json.dumps(ROWS, indent=indent) if array else one_by_one)
    assert read("x.json") == [("x.json:1", TEXTS[0]), ("x.json:2", TEXTS[1])]


def test_broken_json_is_one_line_with_its_place(here, monkeypatch):
    (here / "x.json").write_text('[{"text": "a"}, {"text": ]')
    with pytest.raises(UserError, match=r"x.json, object 2: got invalid JSON"):
        texts("x.json")
    (here / "y.json").write_text('[{"text": "a"}, {"body": "b"}]')
    with pytest.raises(UserError, match=r"y.json, object 2: got \['body'\]; .*`text_column`"):
        texts("y.json")
    monkeypatch.setattr(json_files, "_LONGEST_OBJECT", 1000)
    monkeypatch.setattr(json_files, "_CHUNK", 100)
    (here / "z.json").write_text('[{"text": "' + "a" * 9999)
    with pytest.raises(UserError, match=r"z.json, object 1: got invalid JSON"):
        texts("z.json")


def test_bad_bytes_in_an_array_are_counted(here):
    (here / "x.json").write_bytes(b'[{"text": "a"}, {"text": "caf\xe9"}]')
    assert [(d.text, d.bad_bytes) for d in open_source("x.json")][1][0] == "caf\ufffd"
    assert sum(d.bad_bytes for d in open_source("x.json")) == 1


def test_a_lone_surrogate_is_a_bad_character_wherever_it_comes_from(here):
    lines = [
        r'{"text": "The cat sat. It slept."}',
        r'{"text": "I love it \ud83d so much. It is great."}',
        r'{"text": "A pair \ud83d\ude00. Done."}',
    ]
    (here / "surrogate.jsonl").write_text("\n".join(lines))
    found = list(open_source("surrogate.jsonl"))
    assert [d.bad_bytes for d in found] == [0, 1, 0]
    assert found[1].text == "I love it \ufffd so much. It is great."
    assert found[2].text == "A pair 😀. Done."
    made = Document("caf\udce9.txt", ("a\ud800", "b\ud83d\ude00", "c\ufffd"), bad_bytes=1)
    assert made == Document("caf\ufffd.txt", ("a\ufffd", "b😀", "c\ufffd"), bad_bytes=2)


def test_a_file_whose_name_is_no_unicode(here):
    with open(b"caf\xe9.txt", "w") as file:
        file.write("Text.")
    assert read("*.txt") == [("caf\ufffd.txt", "Text.")]


WIKI = """<doc id="12" url="u?curid=12" title="Anarchy">
Anarchy

Anarchy is a thing. It has parts.

</doc>
<doc id="13" url="u?curid=13" title="Tea">
Tea

Tea is a drink. It is hot: 2 &lt; 3.

</doc>
"""


def test_what_wikiextractor_writes(here):
    (here / "wiki" / "AA").mkdir(parents=True)
    (here / "wiki" / "AA" / "wiki_00").write_text(WIKI)
    (here / "wiki" / "AA" / "wiki_01.bz2").write_bytes(bz2.compress(WIKI.encode()))
    articles = [
        "Anarchy\n\nAnarchy is a thing. It has parts.",
        "Tea\n\nTea is a drink. It is hot: 2 < 3.",
    ]
    assert texts("wiki") == articles * 2
    (here / "cut").write_text(WIKI[: WIKI.index("&lt;")])
    assert texts("cut") == [articles[0], articles[1][:-4].strip()]
    (here / "other").write_text("Prose\n" + WIKI)
    with pytest.raises(UserError, match="other, line 1: got text outside of <doc"):
        texts("other", text_format="wiki")


def test_long_articles_are_cut_between_lines(here, monkeypatch):
    monkeypatch.setattr(wiki_files, "LONGEST_DOCUMENT", 20)
    (here / "wiki_00").write_text('<doc id="1">\n' + "A line of it.\n" * 4 + "</doc>\n")
    assert texts("wiki_00") == ["A line of it.\nA line of it."] * 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_utf_16_with_its_mark(here, encoding, monkeypatch):
    monkeypatch.setattr(byte_streams, "GLANCE", 8)
    text = "Größe, 中文 and 🤗.\r\nA second line. "
    mark = "\ufeff" if encoding.endswith("e") else ""
    (here / "x.txt").write_bytes((mark + text).encode(encoding))
    assert texts("x.txt") == [text]
    (here / "x.jsonl").write_bytes((mark + LINES).encode(encoding))
    assert texts("x.jsonl") == TEXTS


def test_broken_utf_16_is_counted(here):
    (here / "x.txt").write_bytes("\ufeffa\ud83db".encode("utf-16-le", "surrogatepass") + b"x")
    (found,) = open_source("x.txt")
    assert (found.text, found.bad_bytes) == ("a\ufffdb\ufffd", 2)


def write_stream(path, table, rows=1):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows)


def write_file(path, table):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream", "x.feather"])
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]
)
def test_parquet_and_arrow(here, name, kind):
    table = pa.table({"id": [1, 2, 3], "text": pa.array(["One.", None, "Drei\n\nß."]).cast(kind)})
    write = {"x.parquet": lambda path, table: pa.parquet.write_table(table, path)}.get(
        name, write_file if name == "x.feather" else write_stream
    )
    write(here / name, table)
    assert read(name) == [(f"{name}:1", "One."), (f"{name}:2", ""), (f"{name}:3", "Drei\n\nß.")]
    source = open_source(name)
    assert 0 < sum(d.source_bytes for d in source) <= source.total_bytes


def test_a_saved_datasets_folder(here):
    """The files that Hugging Face's `Dataset.save_to_disk` leaves."""
    folder = here / "set" / "train"
    folder.mkdir(parents=True)
    write_stream(folder / "data-00000-of-00002.arrow", pa.table({"text": ["a", "b"]}))
    write_stream(folder / "data-00001-of-00002.arrow", pa.table({"text": ["c"]}))
    write_stream(folder / "cache-1b2c.arrow", pa.table({"text": ["A", "B", "C"]}))
    (folder / "state.json").write_text('{"_data_files": [], "_format_columns": null}')
    (folder / "dataset_info.json").write_text('{"features": {"text": {"dtype": "string"}}}')
    assert texts("set") == ["a", "b", "c"]
    (remark,) = open_source("set").remarks
    assert "left out 3 of 5 files" in remark and "cache-1b2c.arrow, dataset_info.json" in remark


def test_columns_of_tables(here):
    pa.parquet.write_table(pa.table({"body": ["x"], "n": [1]}), "one.parquet")
    assert texts("one.parquet") == ["x"]
    pa.parquet.write_table(pa.table({"body": ["x"], "title": ["t"]}), "two.parquet")
    assert texts("two.parquet", text_column="title") == ["t"]
    with pytest.raises(UserError, match=r"no text column for 'two.parquet'; .*\['body', 'title'\]"):
        texts("two.parquet")
    with pytest.raises(UserError, match=r"text column 'n' for 'one.parquet'"):
        texts("one.parquet", text_column="n")
    (here / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"got 'bad.parquet', which cannot be read") as caught:
        texts("bad.parquet")
    assert "\n" not in str(caught.value)


def test_bad_bytes_and_long_texts_in_tables(here, monkeypatch):
    monkeypatch.setattr(document, "LONGEST_DOCUMENT", 4)
    column = pa.array([b"caf\xe9", b"0123456789"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, column.buffers())
    write_stream(here / "x.arrow", pa.table({"text": broken}), 2)
    found = list(open_source("x.arrow"))
    assert [(d.name, d.text, d.bad_bytes) for d in found] == [
        ("x.arrow:1", "caf\ufffd", 1),
        ("x.arrow:2", "0123", 0),
        ("x.arrow:2#2", "4567", 0),
        ("x.arrow:2#3", "89", 0),
    ]


@pytest.mark.parametrize(
    "name, pack",
    [("x.gz", gzip.compress), ("x.bz2", bz2.compress), ("x.xz", lzma.compress), ("x.zst", zstd)],
)
def test_packed_files_that_are_cut_off(here, name, pack):
    data = pack(os.urandom(99_999).hex().encode())
    (here / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=f"got '{name}', which") as caught:
        texts(name)
    assert "\n" not in str(caught.value)


def test_what_a_folder_search_finds_and_leaves_out(here):
    for name in ["a/1.TXT", "a/news.en-00001-of-00100", "a/README.txt", "a/p.png", "a/k.json"]:
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text('{"key": "value"}' if name.endswith("json") else name)
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "2.txt").write_text("linked")
    (here / "a" / "link").symlink_to(here / "elsewhere")
    (here / "elsewhere" / "loop").symlink_to(here / "a")
    (here / "a" / "again").symlink_to(here / "elsewhere")
    source = open_source("a")
    assert [d.text for d in source] == [
        "a/1.TXT",
        "a/README.txt",
        "linked",
        "a/news.en-00001-of-00100",
    ]
    (remark,) = source.remarks
    assert remark == (
        "a: left out 2 of 6 files, whose names do not end like those of text: k.json, p.png; "
        "name them, or use a glob, to read them too"
    )
    assert not open_source("a/*.TXT").remarks
    (here / "b").mkdir()
    (here / "b" / "x.doc").write_text("x")
    with pytest.raises(UserError, match=r"where there is no file \(but x.doc\); expected files"):
        open_source("b")


def test_prose_that_begins_like_json_or_tags_stays_prose(here):
    for text in ["{ this is TeX }", '{"a" is quoted}', "[1] A footnote.", "<p>HTML</p>", "{}"]:
        (here / "x.txt").write_text(text)
        assert texts("x.txt") == [text]
