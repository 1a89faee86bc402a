"""Every reader, with bytes of a whole file changed, cut, repeated and put in at random.

What is found becomes a row of `tests/test_bad_files.py`.
"""

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_jax.tables.storage import save_tables
from bert_jax.text.word_counts import count_words
from tests.hostile import said_of, written
from tests.tables.examples import tables_of, vocabulary
from tests.test_bad_files import JSON_FILES, READERS

TEXT = "text\tlabel\na cat\tyes\na dog\tno\n"
WHOLE = {
    **{name: json.dumps(content).encode() for name, content in JSON_FILES.items()},
    "vocab.txt": "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "é"]).encode(),
    "words.vec": b"2 2\na 1 2\nb 0.5 -1e-3\n",
    "rows.tsv": TEXT.encode(),
    "rows.tsv.gz": gzip.compress(TEXT.encode()),
    "rows.csv": b'text,label\n"a ""cat""",yes\na dog,no\n',
    "squad.json.gz": gzip.compress(json.dumps(JSON_FILES["squad.json"]).encode()),
    "tags.conll": b"-DOCSTART- O\n\na B-X\nb O\n\nc O\n",
    "tags.conllu": b"# text = a\n1\ta\ta\tNOUN\t_\t_\t0\troot\t_\t_\n\n",
    "pairs.tsv": b"a\tb\t1.5\nc\td\t2\n",
    "groups.txt": b": heading\na b c\nd e f g\n",
    "text.txt": "One. Two.\n\nÀ third.\n".encode(),
    "text.txt.gz": gzip.compress(b"One. Two.\n\nA third.\n"),
}
MADE = ("tables.npz", "tables.safetensors", "counts.txt")

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["put", "cut", "over", "again"]),
        st.integers(0, 1 << 16),
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from([b'"', b"{", b"[", b"]", b"}", b",", b":", b"-", b"1e999", b"null",
                             b"\n", b"\t", b"\0", b"\xff", b"\xed\xa0\x80", b"9" * 5000]),
        ),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def changed(content, changes):
    """The bytes after every change: what is done, where, and with what."""
    for what, at, data in changes:
        at %= len(content) + 1
        end = {"put": at, "cut": at + 1 + len(data), "over": at + len(data), "again": at}[what]
        put = {"put": data, "cut": b"", "over": data, "again": content[at : at + 20]}[what]
        content = content[:at] + put + content[end:]
    return content


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a whole file, by its name."""
    folder = tmp_path_factory.mktemp("whole")
    tables = tables_of(vocabulary(["a"]))
    save_tables(tables, folder / "tables.npz")
    save_tables(tables, folder / "tables.safetensors")
    count_words(["some words, some more"]).save(folder / "counts.txt")
    return {**WHOLE, **{name: (folder / name).read_bytes() for name in MADE}}


@pytest.mark.parametrize("name", [*WHOLE, *MADE])
def test_it_is_read_or_refused_in_one_line(whole, name):
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(CHANGES)
    def check(changes):
        with tempfile.TemporaryDirectory() as folder:
            path = written(Path(folder), name, changed(whole[name], changes))
            said_of(lambda: READERS[name](Path(folder)), path.stat().st_size)

    check()
