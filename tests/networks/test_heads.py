# SPDX-License-Identifier: Apache-2.0
"""The final head among several outputs: of MONAI's own networks, in training and evaluation, and by index or key."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus, DynUNet, MedNeXt, SegResNetDS, SegResNetVAE
from monai.utils.enums import HoVerNetBranch
from torch import nn

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.networks import FeatureTaps, select_head
from akd_monai.networks.heads import _log_once


def unet_plus_plus(dims):
    return BasicUNetPlusPlus(dims, 1, 3, features=(4, 4, 4, 4, 4, 4), deep_supervision=True)


def dyn_unet(dims):
    return DynUNet(
        dims, 1, 3, kernel_size=[3] * 4, strides=[1, 2, 2, 2], upsample_kernel_size=[2] * 3, filters=[4] * 4,
        deep_supervision=True, deep_supr_num=2,
    )  # fmt: skip


def segresnet_ds(dims):
    return SegResNetDS(dims, init_filters=4, in_channels=1, out_channels=3, blocks_down=(1, 1, 1), dsdepth=3)


def segresnet_vae(dims):
    return SegResNetVAE((32,) * dims, spatial_dims=dims, init_filters=8, in_channels=1, out_channels=3)


def mednext(dims):
    blocks = {"blocks_down": (1, 1), "blocks_bottleneck": 1, "blocks_up": (1, 1), "kernel_size": 3}
    return MedNeXt(dims, init_filters=4, in_channels=1, out_channels=3, deep_supervision=True, **blocks)


# The layer whose output is the segmentation, by the code of each network.
FINAL = {
    unet_plus_plus: "final_conv_0_4",
    dyn_unet: "output_block",
    segresnet_ds: "up_layers.1.head",
    segresnet_vae: "conv_final",
    mednext: "out_0",
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("build", FINAL, ids=lambda build: build.__name__)
def test_the_default_is_the_output_of_the_final_layer(build, dims, training):
    torch.manual_seed(0)
    network = build(dims).train(training)
    image = torch.rand(2, 1, *(32,) * dims)
    with FeatureTaps(network, [FINAL[build]]) as taps:
        output = network(image)
        chosen = select_head(output, network=network, image_size=image.shape[2:])
        final = taps.features[FINAL[build]]
    assert chosen.shape == (2, 3, *image.shape[2:])
    assert torch.equal(chosen, final)


FINE = torch.arange(32.0).reshape(1, 2, 4, 4)
COARSE = FINE[..., ::2, ::2]


def test_one_tensor_passes_through_and_a_head_that_is_not_needed_is_said_once(caplog):
    _log_once.cache_clear()
    with caplog.at_level(logging.INFO):
        for head in (None, 0, "mask", "mask"):
            assert select_head(FINE, head, image_size=(4, 4)) is FINE
    assert [record.message for record in caplog.records] == [
        "teacher: one tensor of logits is returned, so that head 0 is not needed",
        "teacher: one tensor of logits is returned, so that head 'mask' is not needed",
    ]


@pytest.mark.parametrize(
    ("output", "head", "expected"),
    [
        ([COARSE, FINE], None, FINE),
        ((FINE, torch.tensor(0.3)), None, FINE),
        ((FINE, None), None, FINE),
        ([FINE], None, FINE),
        ([COARSE, FINE], 0, COARSE),
        ([COARSE, FINE], -1, FINE),
        ({"mask": FINE}, None, FINE),
        ({"edge": COARSE, "mask": FINE}, "edge", COARSE),
        ({HoVerNetBranch.NP.value: FINE, HoVerNetBranch.HV.value: -FINE}, "nucleus_prediction", FINE),
        (torch.stack([FINE, -FINE], 1), None, FINE),
        (torch.stack([FINE, -FINE], 1), 1, -FINE),
        (torch.stack([FINE, -FINE], 1), -1, -FINE),
    ],
)
def test_an_output_is_chosen_by_size_index_or_key(output, head, expected):
    assert torch.equal(select_head(output, head, image_size=(4, 4)), expected)


def test_a_stack_of_3d_heads_is_known_without_the_size_of_the_image():
    stack = torch.stack([FINE[..., None], -FINE[..., None]], 1)
    assert torch.equal(select_head(stack), FINE[..., None])


@pytest.mark.parametrize(
    ("output", "head", "message"),
    [
        (
            [FINE, FINE],
            None,
            "student: several outputs could be its logits: 0 [1, 2, 4, 4], 1 [1, 2, 4, 4]; choose one by",
        ),
        ({"np": FINE, "hv": FINE}, None, "'np' [1, 2, 4, 4], 'hv' [1, 2, 4, 4]; choose one by student_head."),
        ([None, torch.tensor(1.0)], None, "student: no output is a map of logits: 0 NoneType, 1 []"),
        ([], None, "no output is a map of logits: nothing"),
        ([[FINE], [FINE]], None, "no output is a map of logits: 0 list, 1 list"),
        ([FINE, None], 1, "student: head 1 is a NoneType, no tensor: 0 [1, 2, 4, 4], 1 NoneType"),
        ("logits", None, "student: returns a str, which is no tensor"),
        (
            torch.stack([FINE, FINE], 1),
            2,
            "has no head 2 in a stack of 2, [1, 2, 2, 4, 4]; give an index from 0 to 1.",
        ),
        (torch.stack([FINE, FINE], 1), "mask", "has no head 'mask' in a stack of 2"),
        (
            FINE[0],
            None,
            "logits must be [B, K, *spatial] for images of size [4, 4], got shape [2, 4, 4]; choose another",
        ),
        ([FINE], True, "a head is an index, a key or null, got True"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_what_there_is(output, head, message):
    with pytest.raises(InputError, match=re.escape(message)):
        select_head(output, head, where="student", image_size=(4, 4))


@pytest.mark.parametrize(
    ("output", "head", "message"),
    [
        ([FINE, FINE], 2, "unknown head 2 of the teacher. Known: 0, 1. It returns 0 [1, 2, 4, 4], 1 [1, 2, 4, 4]."),
        ([FINE, FINE], "mask", "unknown head 'mask' of the teacher"),
        ({"mask": FINE}, "maks", "unknown head 'maks' of the teacher. Did you mean 'mask'?"),
        ({"mask": FINE}, 0, "unknown head 0 of the teacher. Known: mask."),
    ],
)
def test_an_unknown_head_is_named_with_the_known_ones(output, head, message):
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        select_head(output, head)


def test_the_choice_is_said_once(caplog):
    _log_once.cache_clear()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            select_head([COARSE, FINE], where="student")
    assert [record.message for record in caplog.records] == [
        "student: head 1 is distilled, of 0 [1, 2, 2, 2], 1 [1, 2, 4, 4]"
    ]


@pytest.mark.parametrize(("training", "expected"), [(True, 3 * FINE), (False, FINE)])
def test_the_final_head_may_have_another_place_in_evaluation(training, expected):
    network = type("DAF3D", (nn.Identity,), {})().train(training)
    assert torch.equal(select_head([FINE, 2 * FINE, 3 * FINE], network=network), expected)


def test_a_scripted_network_is_known_by_the_class_of_its_original():
    class Several(nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x, 2 * x]

    Several.__name__ = Several.__qualname__ = "BasicUNetPlusPlus"
    scripted = torch.jit.script(Several())
    assert scripted.original_name == "BasicUNetPlusPlus"
    assert torch.equal(select_head(scripted(FINE), network=scripted), 2 * FINE)


def test_a_wrapped_network_is_known_by_its_class():
    network = unet_plus_plus(2)
    outputs = [FINE, 2 * FINE, 3 * FINE, 4 * FINE]
    assert torch.equal(select_head(outputs, network=nn.DataParallel(network)), 4 * FINE)
