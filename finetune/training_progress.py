"""Where a training stands, as lines among the others."""

from __future__ import annotations

import time
from typing import Any

from prefect_ratify.progress import duration, say


def progress_callback(label: str) -> Any:
    """A callback for TRL's trainers that says, now and then, how far the training is."""
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # the library's only way to hear of steps
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started = self.shown = time.monotonic()
            self.first = state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            now, done = time.monotonic(), state.global_step - self.first
            if logs and "loss" in logs and done and (now - self.shown > 10 or state.global_step == state.max_steps):
                self.shown = now
                left = (now - self.started) / done * (state.max_steps - state.global_step)
                step = f"step {state.global_step}/{state.max_steps}"
                say(f"  {label}: {step} · loss {logs['loss']:.3f} · about {duration(left)} left")

    return Progress()
