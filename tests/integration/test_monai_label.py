# SPDX-License-Identifier: Apache-2.0
"""The real MONAI Label server, started by our verb and spoken to over REST.

MONAI Label goes into an environment of its own, ``.venv-label`` or the folder that ``AKD_LABEL_ENV`` names, which sees
the packages of this one and is used again as long as the pinned versions stay the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import mlflow
import nibabel as nib
import numpy as np
import pytest
import requests
import torch
from bundle_tools import run_bundle
from integration.label_load import load, masks_of
from integration.label_server import (
    MODEL,
    ROOT,
    Server,
    end,
    group_lives,
    installed_python,
    make_bundle,
    make_studies,
    wait_for,
)

from akd_monai.networks.nets import ESPNet

# MONAI Label's own client, called as its module for 3D Slicer calls it: the first of each list is the default
CLIENT = """
import json, sys
from monailabel.client import MONAILabelClient
url, model, image, volume, folder = sys.argv[1:]
client = MONAILabelClient(url, tmpdir=folder)
config = client.info()["models"][model]["config"]
params = {key: value[0] if isinstance(value, list) else value for key, value in config.items()}
stored, about = client.infer(model, image, params)
session = client.create_session(volume)["session_id"]
sent, _ = client.infer(model, "", params, session_id=session)
sample = client.next_sample("first", {})
print(json.dumps([stored, sent, about["label_names"], sample["id"]]))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="skipped: ends the server by its process group"),
]


@pytest.fixture(scope="module")
def label_python() -> Path:
    """Python of an environment with MONAI Label."""
    return installed_python()


@pytest.fixture(scope="module")
def server(tmp_path_factory, label_python):
    """The server with one bundle of drawn weights, four synthetic volumes and, where it is there, a real one."""
    root = tmp_path_factory.mktemp("label")
    make_bundle(root / "bundles" / MODEL)
    make_studies(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = {"studies": "studies", "bundles_dir": "bundles", "app_dir": "app", "port": port, "uncertainty": MODEL}
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        # scoring would begin by itself and write to the same folder as the tests
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "MONAI_LABEL_SESSION_PATH": str(root / "sessions"),
    }
    command = [str(label_python), "-W", "ignore", "-m", "akd_monai", "label"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    running = Server(
        f"http://127.0.0.1:{port}", root / "bundles", root / "studies", root / "app", root / "server.log", process
    )
    try:
        wait_for(running)
        yield running
    finally:
        end(process)


@pytest.fixture(scope="module")
def cli_masks(server, tmp_path_factory) -> Path:
    """The masks of MONAI's command line."""
    folder = tmp_path_factory.mktemp("cli")
    run_bundle(
        server.bundles / MODEL, "configs/inference.json", f"--dataset_dir={server.studies}", f"--output_dir={folder}"
    )
    return folder


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_info_lists_model_trainer_strategy_and_scoring(server):
    info = requests.get(f"{server.url}/info/", timeout=60).json()
    assert info["labels"] == ["prostate"]
    assert info["models"][MODEL]["labels"] == {"prostate": 1}
    assert info["models"][MODEL]["dimension"] == 2
    assert MODEL in info["trainers"]
    assert MODEL in info["scoring"]
    assert "epistemic" in info["strategies"]
    assert info["datastore"]["total"] == len(list(server.studies.glob("*.nii.gz")))


@pytest.mark.parametrize("image", ["phantom0", "turned", "real"])
def test_mask_is_that_of_the_command_line_on_the_grid_of_the_image(server, cli_masks, image, tmp_path):
    path = server.studies / f"{image}.nii.gz"
    if not path.is_file():
        pytest.skip("skipped: no real volume here")
    given, ours = nib.load(path), server.mask(image, tmp_path)
    theirs = nib.load(cli_masks / f"{image}_pred.nii.gz")
    assert ours.shape == given.shape
    np.testing.assert_allclose(ours.affine, given.affine, atol=1e-5)
    assert ours.get_data_dtype() == np.uint8
    mask = np.asarray(ours.dataobj)
    assert 0 < mask.mean() < 1  # neither answer would prove anything
    np.testing.assert_array_equal(mask, np.asarray(theirs.dataobj))


def test_many_clients_get_the_masks_of_their_own_images(server, cli_masks):
    infer = f"{server.url}/infer/{MODEL}"
    found = load(infer, server.process.pid, server.studies, masks_of(cli_masks), count=24, clients=8, warm_up=0)
    assert found.wrong == ()
    assert found.right == 24


def test_uploaded_volume_is_segmented_too(server, tmp_path):
    with (server.studies / "phantom1.nii.gz").open("rb") as file:
        content = server.post(f"/infer/{MODEL}?output=image", files={"file": ("any.nii.gz", file)}).content
    (tmp_path / "uploaded.nii.gz").write_bytes(content)
    uploaded, stored = nib.load(tmp_path / "uploaded.nii.gz"), server.mask("phantom1", tmp_path)
    np.testing.assert_array_equal(np.asarray(uploaded.dataobj), np.asarray(stored.dataobj))


def test_client_of_the_slicer_module_is_served(server, label_python, tmp_path):
    arguments = [server.url, MODEL, "phantom1", server.studies / "phantom1.nii.gz", tmp_path]
    done = subprocess.run([label_python, "-c", CLIENT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + server.log.read_text()[-4000:]
    stored, sent, labels, sample = json.loads(done.stdout.splitlines()[-1])
    wanted = server.mask("phantom1", tmp_path)
    for path in (stored, sent):
        np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), np.asarray(wanted.dataobj))
    assert labels == {"prostate": 1}
    assert sample == "phantom0"


def test_viewer_that_wants_nrrd_gets_it(server):
    params = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    answer = server.post(f"/infer/{MODEL}?image=phantom0&output=image", data={"params": json.dumps(params)})
    assert answer.content.startswith(b"NRRD")
    assert b"unsigned short" in answer.content[:300]


@pytest.mark.fault(
    "MONAI Label",
    "an image that is not there",
    injected="a request to a real server",
    outcome="named in the answer",
)
def test_image_that_is_not_there_is_named(server):
    answer = requests.post(f"{server.url}/infer/{MODEL}?image=phantom7&output=image", timeout=60)
    assert answer.status_code == 400
    assert "unknown image 'phantom7' in the studies. Did you mean 'phantom" in answer.json()["detail"]


@pytest.mark.fault(
    "MONAI Label",
    "weights of another network",
    injected="exchanged while the server runs",
    outcome="the request ends with the reason",
)
def test_weights_of_another_network_end_the_request(server, tmp_path):
    weights = server.copy / "models" / "model.pt"
    right = weights.read_bytes()
    before = np.asarray(server.mask("phantom0", tmp_path).dataobj)
    try:
        torch.save(ESPNet(2, 1, 2).state_dict(), weights)
        answer = requests.post(f"{server.url}/infer/{MODEL}?image=phantom0&output=image", timeout=60)
        assert answer.status_code == 500
        assert "Missing key(s) in state_dict" in answer.json()["detail"]
    finally:
        weights.write_bytes(right)
    np.testing.assert_array_equal(np.asarray(server.mask("phantom0", tmp_path).dataobj), before)


def test_training_without_labels_says_what_to_do(server):
    answer = requests.post(f"{server.url}/train/{MODEL}?run_sync=true", json={"max_epochs": 2}, timeout=120)
    assert answer.status_code == 400
    assert "save at least one label with the tag 'final'" in answer.json()["detail"]


def test_labels_are_saved_and_trained_on_with_mlflow(server, tmp_path):
    save_labels(server)
    before, weights = server.mask("phantom2", tmp_path), server.copy / "models" / "model.pt"
    old, given = sha(weights), sha(server.bundles / MODEL / "models" / "model.pt")
    assert old == given
    # the request of a viewer, with its empty run_id
    server.post(f"/train/{MODEL}", json={"max_epochs": 2, "val_split": 0.5, "run_id": "", "tracking_run_name": "one"})
    task = finished_training(server)
    assert task["status"] == "DONE", task
    assert sha(weights) != old
    assert sha(server.bundles / MODEL / "models" / "model.pt") == given
    kept = list((server.copy / "models").glob("model_*.pt"))
    assert [sha(path) for path in kept] == [old]
    after = server.mask("phantom2", tmp_path)
    assert not np.array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
    image = server.studies / "phantom2.nii.gz"
    run_bundle(server.copy, "configs/inference.json", f"--dataset_dir={image}", f"--output_dir={tmp_path}")
    theirs = nib.load(tmp_path / "phantom2_pred.nii.gz")
    np.testing.assert_array_equal(np.asarray(after.dataobj), np.asarray(theirs.dataobj))
    # the way back
    again = server.mask("phantom2", tmp_path, {"model_filename": kept[0].name})
    np.testing.assert_array_equal(np.asarray(again.dataobj), np.asarray(before.dataobj))
    mlflow.set_tracking_uri(f"sqlite:///{server.app / 'mlruns.db'}")
    runs = mlflow.search_runs(experiment_names=[MODEL])
    assert list(runs["tags.mlflow.runName"]) == ["one"]
    assert runs["status"][0] == "FINISHED"
    assert runs["params.max_epochs"][0] == "2"
    assert runs["tags.checkpoint_sha256"][0] == sha(weights)


def save_labels(server: Server) -> None:
    """Save the labels of two synthetic cases, as a viewer does."""
    masks = server.studies.parent / "phantom" / "RUNMC"
    for number in range(2):
        with (masks / f"Case{number:02}_segmentation.nii.gz").open("rb") as file:
            answer = requests.put(
                f"{server.url}/datastore/label?image=phantom{number}&tag=final",
                files={"label": ("label.nii.gz", file)},
                timeout=60,
            )
        assert answer.json() == {"image": f"phantom{number}", "label": f"phantom{number}"}


def finished_training(server: Server) -> dict:
    """Wait for the training in the background."""
    for _ in range(240):
        task = requests.get(f"{server.url}/train/", timeout=60).json()
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            return task
        time.sleep(0.5)
    pytest.fail(f"training did not end: {task}")


def test_uncertainty_chooses_the_next_image(server):
    server.post(f"/scoring/{MODEL}?run_sync=true", json={"simulation_size": 3, "max_workers": 1})
    images = requests.get(f"{server.url}/datastore/?output=all", timeout=60).json()["objects"]
    open_images = {name: about["image"]["info"] for name, about in images.items() if "final" not in about["labels"]}
    assert sorted(open_images) == sorted(n for n in images if n not in ("phantom0", "phantom1"))
    scores = {name: info["epistemic_entropy"] for name, info in open_images.items()}
    # two classes: at most ln 2
    assert all(0 < score <= np.log(2) for score in scores.values())
    chosen = server.post("/activelearning/epistemic").json()
    assert chosen["id"] == max(scores, key=lambda name: scores[name])


def test_batch_is_segmented_without_a_gpu(server):
    done = server.post(f"/batch/infer/{MODEL}?images=all&run_sync=true", json={"max_batch_size": 2}).json()
    assert len(done) == 2
    for image in done:
        assert (server.studies / "labels" / "original" / f"{image}.nii.gz").is_file()


@pytest.mark.fault(
    "MONAI Label",
    "the server is stopped",
    injected="SIGTERM to a real server during a training",
    outcome="no process is left",
)
def test_server_ends_with_everything_it_started(server):
    server.post(f"/train/{MODEL}", json={"max_epochs": 1000, "tracking": "None"})
    for _ in range(240):
        if "epoch 1/1000" in server.log.read_text():
            break
        time.sleep(0.25)
    else:
        pytest.fail(f"training did not begin:\n{server.log.read_text()[-4000:]}")
    server.process.terminate()
    assert server.process.wait(timeout=30) in (143, -signal.SIGTERM)
    assert not group_lives(server.process.pid)
