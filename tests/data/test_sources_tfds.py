import subprocess
import sys

import numpy as np
import pytest

from bert_jax.bucket import Prefix
from bert_jax.data.sources import open_source
from bert_jax.errors import UserError
from tests.buckets.servers import BUCKET, gcs_server

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A dataset made here, with two text columns."""
    folder = tmp_path_factory.mktemp("tfds") / "two_texts" / "1.0.0"
    folder.mkdir(parents=True)
    text = tfds.features.Text()
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="two_texts",
        version=tfds.core.Version("1.0.0"),
        data_dir=str(folder),
        module_name=__name__,
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        features=tfds.features.FeaturesDict({"title": text, "body": text, "label": np.int64}),
    )
    writer = tfds.core.SequentialWriter(info, 1000, file_format="array_record")
    writer.initialize_splits(["train"])
    rows = [{"title": f"Ä{n}", "body": f"Body {n}.", "label": n} for n in range(3)]
    writer.add_examples({"train": rows})
    writer.close_all()
    return folder


def test_any_dataset_by_name():
    with tfds.testing.mock_data(num_examples=3):
        for name in ("lm1b", "wiki40b", "imdb_reviews", "glue/sst2"):
            source = open_source(f"tfds:{name}")
            texts = [document.text for document in source]
            assert len(texts) == 3 and all(isinstance(text, str) for text in texts)
            assert [d.name for d in source][2] == f"tfds:{name}:2"
            assert name.split("/")[0] in source.identity


def test_a_prepared_folder(prepared):
    source = open_source(f"tfds:{prepared}", text_column="title")
    assert sorted(document.text for document in source) == ["Ä0", "Ä1", "Ä2"]
    assert source.identity == "tfds:two_texts/1.0.0 title"


def test_a_prepared_folder_of_a_bucket(prepared, tmp_path, monkeypatch):
    pytest.importorskip("gcsfs")
    with gcs_server() as (environment, _):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        there = Prefix(f"gs://{BUCKET}/two_texts")
        for file in prepared.iterdir():
            there.put(file, file.name)
        source = open_source(f"tfds:{there.url}", text_column="title")
        assert sorted(document.text for document in source) == ["Ä0", "Ä1", "Ä2"]
        assert source.identity == open_source(f"tfds:{prepared}", text_column="title").identity
        assert {document.name.rpartition(":")[0] for document in source} == {f"tfds:{there.url}"}
        with pytest.raises(UserError, match=r"got gs://bucket-one/none, which does not exist"):
            open_source(f"tfds:gs://{BUCKET}/none")


def test_which_column_must_be_said_where_it_is_not_plain(prepared):
    with pytest.raises(UserError, match=r"expected `text_column`, one of \['body', 'title'\]"):
        open_source(f"tfds:{prepared}")
    with pytest.raises(UserError, match=r"got text column 'label' for tfds:.*one of \['body'"):
        open_source(f"tfds:{prepared}", text_column="label")


def test_unknown_datasets(tmp_path):
    with pytest.raises(UserError, match=r"got tfds:no_such_set, which TFDS .* does not know"):
        open_source("tfds:no_such_set")
    with pytest.raises(UserError, match="which is not a prepared TFDS dataset"):
        open_source(f"tfds:{tmp_path}")


def test_no_tensorflow_is_imported(prepared):
    program = (
        "import sys\n"
        "from bert_jax.data.sources import open_source\n"
        f"assert len(list(open_source('tfds:{prepared}', text_column='body'))) == 3\n"
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
