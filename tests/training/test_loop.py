import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.training.callbacks import Callback
from bert_jax.training.loop import EventSchedule, NotFiniteError, train
from bert_jax.training.sharding import create_mesh
from bert_jax.training.state import TrainState


class Recorder(Callback):
    """A run whose loss is 100 - step, with everything that happened in order."""

    def __init__(self, stop_after=None, nan_at=None):
        self.events, self.stop_after, self.nan_at = [], stop_after, nan_at
        self.steps = 0

    def train_step(self, state, batch):
        self.steps += 1
        step = int(state.step) + 1
        self.events.append(f"run {step}")
        loss = jnp.nan if step == self.nan_at else 100.0 - step
        return TrainState(jnp.int32(step), {}, ()), {"loss": jnp.float32(loss)}

    def evaluate(self, step, state):
        self.events.append(f"evaluate {step}")
        return {"heldout_mlm_loss": float(step)}

    def on_log(self, step, metrics):
        self.events.append(f"log {step} {metrics['loss']:g}")

    def on_evaluate(self, step, metrics):
        assert metrics == {"heldout_mlm_loss": float(step)}
        self.events.append(f"told {step}")

    def on_train_begin(self, step):
        self.begun = step

    def on_train_end(self):
        self.ended = True

    def train(self, schedule, start=0):
        batch = {"instance_ids": np.ones((8, 4), np.int32)}
        train(
            TrainState(jnp.int32(start), {}, ()), self.train_step, iter([batch] * 99),
            create_mesh({}, jax_devices()), schedule,
            evaluate=self.evaluate,
            save=lambda state, figures: self.events.append(f"save {int(state.step)} {figures}"),
            stop=lambda: self.steps == self.stop_after,
            callbacks=[self],
        )  # fmt: skip
        assert self.begun == start and self.ended
        return self.events


def jax_devices():
    import jax

    return jax.devices()[:1]


def test_metrics_are_read_one_step_late_except_where_something_needs_them():
    events = Recorder().train(EventSchedule(steps=4, log_every=1, eval_every=3, checkpoint_every=3))
    assert events == [
        "run 1", "run 2", "log 1 99", "run 3", "log 2 98", "log 3 97",
        "evaluate 3", "told 3", "save 3 {'heldout_mlm_loss': 3.0}",
        "run 4", "log 4 96", "evaluate 4", "told 4", "save 4 {'heldout_mlm_loss': 4.0}",
    ]  # fmt: skip


def test_continues_at_the_step_of_the_state():
    events = Recorder().train(EventSchedule(steps=7, log_every=5), start=5)
    assert events[0] == "run 6"
    assert "run 8" not in events


def test_a_stop_request_saves_and_ends():
    events = Recorder(stop_after=2).train(EventSchedule(steps=50))
    assert events == ["run 1", "run 2", "save 2 None"]


def test_nan_stops_before_anything_is_saved():
    recorder = Recorder(nan_at=3)
    with pytest.raises(NotFiniteError, match=r"step 3 is not finite \(loss nan\)") as caught:
        recorder.train(EventSchedule(steps=50, checkpoint_every=3))
    assert caught.value.step == 3
    assert recorder.ended
    assert not any(event.startswith("save") for event in recorder.events)
