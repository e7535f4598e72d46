# SPDX-License-Identifier: Apache-2.0
"""A training that starts from a file of weights: what is loaded, what a resume keeps, and which resume is refused."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from toy_run import build, network

from akd_monai.errors import InputError
from akd_monai.handlers import InitialWeights


@pytest.fixture
def weights(tmp_path):
    """Return a file with the weights of another seed."""
    path = tmp_path / "pretrained.pt"
    torch.save(network(seed=99).state_dict(), path)
    return path


def trained(folder, weights=None, epochs=1, **options):
    first = [] if weights is None else [InitialWeights(weights)]
    trainer = build(folder, first=first, epochs=epochs, **options)
    seen = []

    def note(engine):
        seen.append({name: value.clone() for name, value in engine.network.state_dict().items()})

    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), note)
    trainer.run()
    return trainer, seen


def test_the_first_step_starts_from_the_file(tmp_path, weights):
    _, seen = trained(tmp_path / "run", weights)
    expected = network(seed=99).state_dict()
    assert all(torch.equal(seen[0][name], value) for name, value in expected.items())
    assert not torch.equal(seen[0]["0.weight"], network().state_dict()["0.weight"])


@pytest.mark.parametrize("place", ["first", "handlers"])
def test_a_resume_keeps_the_weights_of_its_checkpoint(tmp_path, weights, place):
    undisturbed, _ = trained(tmp_path / "once", weights, epochs=2)
    trained(tmp_path / "twice", weights, epochs=1)
    resumed = build(tmp_path / "twice", epochs=2, **{place: [InitialWeights(weights)]})
    resumed.run()
    wanted = undisturbed.network.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in resumed.network.state_dict().items())


def test_a_finished_run_keeps_its_weights(tmp_path, weights):
    before, _ = trained(tmp_path / "run", weights)
    again, seen = trained(tmp_path / "run", weights)
    assert seen == []
    assert torch.equal(again.network.state_dict()["0.weight"], before.network.state_dict()["0.weight"])


def test_the_content_of_the_file_is_part_of_the_run_and_its_path_is_not(tmp_path, weights):
    trained(tmp_path / "run", weights)
    moved = weights.rename(tmp_path / "moved.pt")
    trained(tmp_path / "run", moved, epochs=2)
    other = tmp_path / "other.pt"
    torch.save(network(seed=7).state_dict(), other)
    with pytest.raises(InputError, match=r"another run, which differs in trainer\.initial_weights \(was '"):
        trained(tmp_path / "run", other, epochs=3)
    with pytest.raises(InputError, match=r"trainer\.initial_weights \(was '.*, is absent\)"):
        trained(tmp_path / "run", epochs=3)


def test_a_run_from_random_weights_does_not_resume_from_a_file(tmp_path, weights):
    trained(tmp_path / "run")
    with pytest.raises(InputError, match=r"trainer\.initial_weights \(was absent, is '"):
        trained(tmp_path / "run", weights, epochs=2)


def test_weights_of_another_network_are_refused_before_the_first_step(tmp_path, weights):
    state = torch.load(weights)
    state["4.weight"] = state["4.weight"][:, :2]
    torch.save(state, weights)
    with pytest.raises(InputError, match=r"do not fit Sequential: .* 1 of another shape \['4\.weight \[1, 2, 1, 1\]"):
        trained(tmp_path / "run", weights)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match=r"initial_weights '.*none\.pt' do not exist; give the file of weights"):
        trained(tmp_path / "run", tmp_path / "none.pt")


def test_a_file_that_is_no_path_is_said():
    with pytest.raises(InputError, match="initial_weights must be a path, got 5"):
        InitialWeights(5)
