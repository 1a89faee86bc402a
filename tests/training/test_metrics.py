import json

from hypothesis import given
from hypothesis import strategies as st

from bert_jax.training.metrics import MetricsWriter, read_metrics


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_back_bit_for_bit(value):
    assert json.loads(json.dumps(value)) == value


def test_resuming_drops_what_lies_beyond_and_torn_lines(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 0.1 * step})
    writer.write_heldout(3, {"heldout_mlm_loss": 1.0})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed in the middle of a line

    writer = MetricsWriter(tmp_path, start=2)
    writer.write(3, {"loss": 7.0})
    writer.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 0.1},
        {"step": 2, "loss": 0.2},
        {"step": 3, "loss": 7.0},
    ]
    assert read_metrics(tmp_path / "heldout.jsonl") == []
    assert len(list((tmp_path / "tensorboard").iterdir())) >= 1
