# SPDX-License-Identifier: Apache-2.0
"""What the channels of a bundle's network mean, read from its configs without running anything of them."""

from __future__ import annotations

import json

import pytest
import yaml

from akd_monai.bundle import write_bundle
from akd_monai.bundle.outputs import output_activation
from akd_monai.errors import InputError

ARGMAX = {"_target_": "AsDiscreted", "keys": ["pred", "label"], "argmax": [True, False], "to_onehot": 2}
THRESHOLD = {"_target_": "monai.transforms.AsDiscreted", "keys": "pred", "threshold": 0.5}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
SIGMOID = {"_target_": "Activationsd", "keys": ["pred"], "softmax": False, "sigmoid": True}


def bundle(root, *, classes=3, names=None, suffix="json", **configs):
    """Write configs by name, and metadata with so many channels."""
    pred = {"num_channels": classes}
    if names is not None:
        pred["channel_def"] = {str(channel): name for channel, name in enumerate(names)}
    image = {"num_channels": 1, "spatial_shape": [32, 32]}
    metadata = {"network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}}}
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    for name, content in configs.items():
        written = json.dumps(content) if suffix == "json" else yaml.safe_dump(content)
        (root / "configs" / f"{name}.{suffix}").write_text(written)
    return root


def loss(target, **arguments):
    return {"train": {"loss": {"_target_": target, **arguments}}}


CASES = {
    "activations softmax": ({"inference": {"post": [SOFTMAX, ARGMAX]}}, "softmax"),
    "activations sigmoid": ({"inference": {"post": [SIGMOID, THRESHOLD]}}, "sigmoid"),
    "threshold of softmax probabilities": ({"inference": {"post": [SOFTMAX, THRESHOLD]}}, "softmax"),
    "argmax alone": ({"inference": {"post": [ARGMAX]}}, "softmax"),
    "threshold alone": ({"inference": {"post": [THRESHOLD]}}, "sigmoid"),
    "argmax of the label alone": (
        {"inference": {"post": [{**ARGMAX, "argmax": [False, True], "threshold": [0.5, None]}]}},
        "sigmoid",
    ),
    "dice softmax": (loss("DiceCELoss", softmax=True, to_onehot_y=True), "softmax"),
    "dice sigmoid of one-hot labels": (loss("DiceLoss", sigmoid=True, softmax=False, to_onehot_y=True), "sigmoid"),
    "dice of one-hot labels": (loss("DiceLoss", to_onehot_y=True), "softmax"),
    "cross entropy": (loss("torch.nn.CrossEntropyLoss"), "softmax"),
    "binary cross entropy": (loss("torch.nn.BCEWithLogitsLoss"), "sigmoid"),
    "focal": (loss("FocalLoss"), "sigmoid"),
    "focal softmax": (loss("FocalLoss", use_softmax=True), "softmax"),
    "deep supervision": (
        loss("DeepSupervisionLoss", loss={"_target_": "DiceCELoss", "sigmoid": True}),
        "sigmoid",
    ),
    "reference": ({"train": {"flag": True, "loss": {"_target_": "DiceLoss", "sigmoid": "@flag"}}}, "sigmoid"),
    "literal": (loss("DiceLoss", sigmoid="$False", softmax="$True"), "softmax"),
    "macro": ({"inference": {"a": SIGMOID, "post": ["%a", THRESHOLD]}}, "sigmoid"),
    "expression": ({"train": {"loss_function": "$torch.nn.functional.cross_entropy"}}, "softmax"),
    "other activation": (
        {"inference": {"post": [{"_target_": "Activationsd", "keys": "pred", "other": "$torch.sigmoid"}]}},
        "sigmoid",
    ),
    "overlay": (
        {"train": {"validate": {}}, "evaluate": {"validate#postprocessing": [SIGMOID, THRESHOLD]}},
        "sigmoid",
    ),
    "disabled": (
        {"inference": {"post": [{**SIGMOID, "_disabled_": True}, SOFTMAX]}},
        "softmax",
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["json", "yaml"])
@pytest.mark.parametrize("case", CASES)
def test_activation_is_read(case, suffix, tmp_path):
    configs, expected = CASES[case]
    assert output_activation(bundle(tmp_path / "b", suffix=suffix, **configs)) == expected


def test_one_channel_is_a_sigmoid(tmp_path):
    assert output_activation(bundle(tmp_path / "b", classes=1)) == "sigmoid"


def test_one_channel_may_be_written_as_a_string(tmp_path):
    assert output_activation(bundle(tmp_path / "b", classes="1")) == "sigmoid"


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"inference": {"post": [SOFTMAX]}, **loss("DiceLoss", sigmoid=True)},
         r"softmax \(Activationsd\(softmax\) in inference.json at 'post#0'\) and sigmoid \(DiceLoss\(sigmoid\) in "
         r"train.json at 'loss'\); say which it is with --activation softmax or --activation sigmoid"),
        ({"inference": {"post": [ARGMAX]}, **loss("DiceLoss", sigmoid=True)}, r"AsDiscreted\(argmax\)"),
        ({"inference": {"post": [ARGMAX, THRESHOLD]}}, "speaks for softmax .* and sigmoid"),
        (loss("DiceLoss", softmax=True, sigmoid=True), "speaks for softmax .* and sigmoid"),
        ({"inference": {}}, "no config that tells .*--activation"),
        ({"inference": {"post": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": "$open('x')"}]}}, "no config"),
        ({"inference": {"post": [{"_target_": "AsDiscreted", "keys": "label", "argmax": True}]}}, "no config that tells"),
    ],
    ids=["two", "exclusive", "weak", "one loss", "silent", "code", "label"],
)  # fmt: skip
def test_contradiction_and_silence_ask(configs, message, tmp_path):
    with pytest.raises(InputError, match=message):
        output_activation(bundle(tmp_path / "b", **configs))


def test_background_is_the_last_hint_and_warns(tmp_path, caplog):
    root = bundle(tmp_path / "b", classes=2, names=["Background", "liver"], inference={})
    assert output_activation(root) == "softmax"
    assert "no config names the activation" in caplog.text


def test_classes_without_background_are_no_hint(tmp_path):
    root = bundle(tmp_path / "b", classes=2, names=["core", "edema"], inference={})
    with pytest.raises(InputError, match="no config that tells"):
        output_activation(root)


def test_nothing_is_run(tmp_path):
    canary = tmp_path / "ran"
    code = f"$open({str(canary)!r}, 'w')"
    config = {"imports": [code], "loss": {"_target_": "DiceLoss", "softmax": True, "smooth_nr": code}, "x": f"${code}"}
    assert output_activation(bundle(tmp_path / "b", train=config)) == "softmax"
    assert not canary.exists()


@pytest.mark.parametrize("part", ["enet", "unetplusplus"])
def test_own_bundles_are_softmax(part, tmp_path):
    assert output_activation(write_bundle(part, tmp_path / part)) == "softmax"
