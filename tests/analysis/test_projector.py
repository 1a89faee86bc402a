import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client
from werkzeug.wrappers import Response

from bert_jax.analysis.projector import write_projector
from bert_jax.errors import UserError

TABLES = {"token": np.arange(6, dtype=np.float64).reshape(3, 2), "position": np.eye(2, 4)}
METADATA = {
    "token": {"piece": ["[PAD]", "a\tb", "\u2028"], "frequency": [0, 7, 1]},
    "position": {"position": [0, 1]},
}


@pytest.fixture
def tensorboard(tmp_path):
    """The plugin itself, asked as the page asks it."""
    write_projector(tmp_path, TABLES, METADATA)
    plugin = ProjectorPlugin(TBContext(logdir=str(tmp_path), multiplexer=EventMultiplexer()))
    applications = plugin.get_plugin_apps()

    def ask(path, **query):
        response = Client(applications[path], Response).get(path, query_string=query)
        assert response.status_code == 200, response.text
        return response

    return ask


def test_tensorboard_reads_the_tables_and_what_their_rows_are(tensorboard):
    info = tensorboard("/info", run=".").json["embeddings"]
    assert [(e["tensorName"], e["tensorShape"]) for e in info] == [
        ("token", [3, 2]), ("position", [2, 4]),
    ]  # fmt: skip
    for name, table in TABLES.items():
        read = np.frombuffer(tensorboard("/tensor", run=".", name=name).data, np.float32)
        np.testing.assert_array_equal(read.reshape(table.shape), table)
    token = tensorboard("/metadata", run=".", name="token").text
    assert token == "piece\tfrequency\n[PAD]\t0\na b\t7\n·\t1\n"
    assert tensorboard("/metadata", run=".", name="position").text == "0\n1\n"


def test_a_column_of_another_length_is_named(tmp_path):
    with pytest.raises(UserError, match="got 1 values of 'piece' for the 3 rows of token"):
        write_projector(tmp_path / "new", TABLES, {**METADATA, "token": {"piece": ["x"]}})
    assert not (tmp_path / "new").exists()


def test_what_is_there_is_replaced_and_nothing_half_written_stays(tmp_path):
    for _ in range(2):
        write_projector(tmp_path / "new", TABLES, METADATA)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == [
        "position.bytes", "position.tsv", "projector_config.pbtxt", "token.bytes", "token.tsv",
    ]  # fmt: skip
    with pytest.raises(UserError, match="which cannot be written"):
        write_projector(tmp_path / "new" / "token.tsv", TABLES, METADATA)
