import json

from hypothesis import given
from hypothesis import strategies as st

from bert_jax.training.metrics import JsonLines, TensorBoard, read_metrics


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_back_bit_for_bit(value):
    assert json.loads(json.dumps(value)) == value


def told(tmp_path, start=0, losses=(), heldout=()):
    callbacks = JsonLines(tmp_path), TensorBoard(tmp_path / "tensorboard")
    for callback in callbacks:
        callback.on_train_begin(start)
        for step, loss in losses:
            callback.on_log(step, {"loss": loss})
        for step, loss in heldout:
            callback.on_evaluate(step, {"heldout_mlm_loss": loss})
        callback.on_train_end()


def test_resuming_drops_what_lies_beyond_and_torn_lines(tmp_path):
    told(tmp_path, losses=[(1, 0.1), (2, 0.2), (3, 0.3)], heldout=[(3, 1.0)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # killed in the middle of a line
    told(tmp_path, start=2, losses=[(3, 7.0)])
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 1, "loss": 0.1},
        {"step": 2, "loss": 0.2},
        {"step": 3, "loss": 7.0},
    ]
    assert read_metrics(tmp_path / "heldout.jsonl") == []
    assert len(list((tmp_path / "tensorboard").iterdir())) >= 1
