"""What a run tells as it goes: override what you want to hear of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bert_jax.arguments import expect
from bert_jax.progress import ProgressBar
from bert_jax.training.state import TrainState


class Callback:
    """Called by the training loop; every method does nothing unless overridden.

    `step` counts updates applied. Metrics are a step's means by name (`loss`, `mlm_loss`, …,
    `tokens_per_second`). In a run of several processes only the first one's are called.

        class PrintLoss(Callback):
            def on_log(self, step, metrics):
                print(step, metrics["loss"])
    """

    def on_train_begin(self, step: int) -> None:
        """Before the first step. Reports of later steps are void: the run was killed there."""

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """After every step, as soon as its metrics are known, which is one step later."""

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        """After every logged step, before `on_step`."""

    def on_evaluate(self, step: int, metrics: Mapping[str, float]) -> None:
        """After an evaluation, with the held-out figures."""

    def on_update(self, step: int, state: TrainState) -> None:
        """After every step, with its state, which the next step will destroy.

        Reading one of its arrays waits for the step.
        """

    def on_save(self, step: int) -> None:
        """Before a checkpoint of this step is written: reports up to here must outlive it."""

    def on_train_end(self) -> None:
        """After the last step, or when the run stops or fails."""


class ShowProgress(Callback):
    """A progress bar with the time left.

    Args:
        title: what is being done.
        steps: of the whole run.
        note: what to say of a step's metrics.
    """

    def __init__(self, title: str, steps: int, note: Callable[[Mapping[str, float]], str]):
        self._title, self._steps, self._note = title, steps, note

    def on_train_begin(self, step: int) -> None:
        """Show the bar."""
        self._bar = ProgressBar(self._title, self._steps, step).__enter__()

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Move it on."""
        speed = f"{metrics['tokens_per_second']:,.0f} tokens/s"
        self._bar.update(step, f"{step}/{self._steps}  {self._note(metrics)}  {speed}")

    def on_train_end(self) -> None:
        """Leave it where it is."""
        self._bar.__exit__()


class LastMetrics(Callback):
    """Keeps the metrics of the newest step that is known, in `metrics`."""

    metrics: Mapping[str, float]

    def on_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep them."""
        self.metrics = metrics


def check_callbacks(callbacks: Any) -> None:
    """Make sure that a list of callbacks is one.

    Raises:
        UserError: it is something else, such as a function.
    """
    wanted = "a list of objects of Callback's subclasses"
    for callback in expect("callbacks", callbacks, Sequence, wanted):
        expect("callbacks", callback, Callback, wanted)
