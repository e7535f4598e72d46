# SPDX-License-Identifier: Apache-2.0
"""A trainer written by hand with MONAI alone gives the losses that the command gives, for a bundle in the zoo's style."""

from __future__ import annotations

import pytest
import torch
from foreign_tools import STUDENT, TEACHER, foreign_bundle, foreign_teacher, network, write_cubes
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.engines import SupervisedTrainer
from torch.nn import functional as F

from akd_monai.bundle import DistillationWorkflow

WEIGHT = 0.5


class HandwrittenTrainer(SupervisedTrainer):
    """What a MONAI user writes to add the Kullback-Leibler divergence from a teacher to the loss."""

    def __init__(self, *, weights: str, **kwargs) -> None:
        super().__init__(**kwargs)
        # as any network built in the middle of a run, this draws random numbers, which the run must not miss
        with torch.random.fork_rng(devices=[]):
            self.teacher = network(TEACHER)
        self.teacher.load_state_dict(torch.load(weights, weights_only=True))
        self.teacher.eval()
        self.task = self.loss_function
        self.loss_function = self.total
        self.terms = {}

    def total(self, logits, label):
        with torch.no_grad():
            teacher = self.teacher(self.state.output["image"])
        student = F.log_softmax(logits, 1)
        divergence = F.kl_div(F.log_softmax(teacher, 1), student, reduction="none", log_target=True).sum(1).mean()
        task = self.task(logits, label)
        self.terms = {"task": float(task.detach()), "logits": WEIGHT * float(divergence.detach())}
        return task + WEIGHT * divergence


def recorded(workflow, trainer_id="train#trainer"):
    """Run a workflow and return the terms of each step."""
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content(trainer_id)
    seen = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: seen.append(
            engine.terms
            if isinstance(engine, HandwrittenTrainer)
            else {name: float(value) for name, value in engine.state.loss_terms.items()}
        ),
    )
    workflow.run()
    return seen


@pytest.mark.slow
def test_losses_equal_those_of_a_handwritten_trainer(tmp_path):
    data = write_cubes(tmp_path / "data")
    teacher = foreign_teacher(tmp_path / "teacher", data)
    ours = foreign_bundle(tmp_path / "ours", STUDENT, data)
    theirs = foreign_bundle(tmp_path / "theirs", STUDENT, data)
    epochs = {"train#trainer#max_epochs": 3}
    terms = recorded(DistillationWorkflow(teacher, ours, terms="logits", lambda_logits=WEIGHT, **epochs))
    by_hand = ConfigWorkflow(
        workflow_type="train",
        config_file=str(theirs / "configs" / "train.json"),
        meta_file=str(theirs / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(theirs),
        **epochs,
        **{
            "train#trainer#_target_": f"{__name__}.HandwrittenTrainer",
            "train#trainer#weights": str(teacher / "models" / "model.pt"),
        },
    )
    wanted = recorded(by_hand)
    assert len(terms) == len(wanted) == 3
    for step, other in zip(terms, wanted, strict=True):
        assert step == pytest.approx(other, abs=1e-4)
    assert wanted[0]["logits"] > 0.01
