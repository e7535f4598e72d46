# SPDX-License-Identifier: Apache-2.0
"""The network classes that a bundle may name without being trusted, by their names."""

from __future__ import annotations

import importlib
import re
from functools import cache

from monai.bundle import ComponentLocator
from torch import nn

__all__ = ["is_loading_argument", "network_class"]

# Classes only, and only those whose constructors build layers from plain values: no function, nothing that loads or
# downloads weights by default, compiles an extension or imports an optional package to build another class.
_TORCH = """
AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d AlphaDropout
AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d Bilinear CELU ChannelShuffle CircularPad1d CircularPad2d
CircularPad3d ConstantPad1d ConstantPad2d ConstantPad3d Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d
ConvTranspose3d Dropout Dropout1d Dropout2d Dropout3d ELU Embedding FeatureAlphaDropout Flatten Fold GELU GLU GRU GRUCell
GroupNorm Hardshrink Hardsigmoid Hardswish Hardtanh Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d LPPool1d LPPool2d
LPPool3d LSTM LSTMCell LayerNorm LeakyReLU Linear LocalResponseNorm LogSigmoid LogSoftmax MaxPool1d MaxPool2d MaxPool3d
MaxUnpool1d MaxUnpool2d MaxUnpool3d Mish ModuleDict ModuleList MultiheadAttention PReLU PixelShuffle PixelUnshuffle RMSNorm
RNN RNNCell RReLU ReLU ReLU6 ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d
ReplicationPad3d SELU Sequential SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink Softsign SyncBatchNorm Tanh
Tanhshrink Threshold Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer
Unflatten Unfold Upsample UpsamplingBilinear2d UpsamplingNearest2d ZeroPad1d ZeroPad2d ZeroPad3d
"""
_NETS = """
AHNet AHnet Ahnet AttentionUnet AutoEncoder AutoencoderKL BasicUNet BasicUNetPlusPlus BasicUnet BasicUnetPlusPlus Basicunet
BasicunetPlusPlus basicunet basicunetplusplus Classifier ControlNet Critic DAF3D DecoderOnlyTransformer DenseNet DenseNet121
DenseNet169 DenseNet201 DenseNet264 Densenet Densenet121 Densenet169 Densenet201 Densenet264 densenet121 densenet169
densenet201 densenet264 DiffusionModelUNet Discriminator DynUNet DynUnet Dynunet EfficientNet FlexUNet FlexibleUNet
FullyConnectedNet Generator GlobalNet HighResBlock HighResNet HoVerNet HoVernet HoverNet Hovernet LocalNet MedNeXt MedNext
MultiScalePatchDiscriminator PatchDiscriminator RegUNet Regressor ResNet ResNetBlock ResNetBottleneck SENet SENet154
SEResNeXt101 SEResNeXt50 SEResNet101 SEResNet152 SEResNet50 SEResNext101 SEResNext50 SEnet SEnet154 SEresnet101 SEresnet152
SEresnet50 SEresnext101 SEresnext50 Senet Senet154 Seresnet101 Seresnet152 Seresnet50 Seresnext101 Seresnext50 senet154
seresnet101 seresnet152 seresnet50 seresnext101 seresnext50 SPADEAutoencoderKL SPADEDiffusionModelUNet SPADENet SegResNet
SegResNetDS SegResNetDS2 SegResNetVAE SwinUNETR UNETR UNet Unet VISTA3D VNet VQVAE VarAutoEncoder VarFullyConnectedNet ViT
ViTAutoEnc VoxelMorph VoxelMorphUNet
"""
_BLOCKS = """
ADN ActiConvNormBlock CABlock ChannelSELayer ConvDenseBlock Convolution CrossAttentionBlock DenseBlock DownSample Downsample
FactorizedIncreaseBlock FactorizedReduceBlock FeedForward GCN GEGLU LocalNetDownSampleBlock LocalNetFeatureExtractorBlock
LocalNetUpSampleBlock MLPBlock MaxAvgPool MedNeXtBlock MedNeXtDownBlock MedNeXtOutBlock MedNeXtUpBlock MemoryEfficientSwish
Mish P3DActiConvNormBlock PatchEmbed PatchEmbeddingBlock Refine RegistrationDownSampleBlock RegistrationExtractionBlock
RegistrationResidualConvBlock ResBlock ResidualSELayer ResidualUnit SABlock SEBlock SEBottleneck SEResNeXtBottleneck
SEResNetBottleneck SPADE SimpleASPP SpatialAttentionBlock SubpixelDownSample SubpixelDownsample SubpixelUpSample
SubpixelUpsample Subpixeldownsample Subpixelupsample Swish TransformerBlock UnetBasicBlock UnetOutBlock UnetResBlock
UnetUpBlock UnetrBasicBlock UnetrPrUpBlock UnetrUpBlock UpSample Upsample
"""
_LAYERS = "ChannelPad DropPath Flatten GaussianFilter Reshape SkipConnection"

_ALLOWED = {
    "torch.nn": _TORCH,
    "monai.networks.nets": _NETS,
    "monai.networks.blocks": _BLOCKS,
    "monai.networks.layers": _LAYERS,
    "akd_monai.networks.nets": "DeepLabV3Plus ENet ERFNet ESPNet UNetPlusPlus",
    "akd_monai.networks.layers": "VectorizedBatchNorm2d VectorizedPReLU",
}

# names of arguments by which constructors load or download
_LOADING = re.compile(r"pretrained|(^|_)(weights|progress|url|path|file|filename)$")


def network_class(target: object) -> type[nn.Module] | None:
    """Return the class that ``target`` names if it is on the list, else None; nothing is imported or located to know.

    Args:
        target: a full name, or one of MONAI's short names such as ``"UNet"``.

    Example:
        >>> network_class("torch.nn.Conv2d").__name__, network_class("Unet").__name__, network_class("antigravity")
        ('Conv2d', 'UNet', None)
    """
    if not isinstance(target, str):
        return None
    if "." not in target:
        module = ComponentLocator().get_component_module_name(target)
        # MONAI takes the first of several
        first = module[0] if isinstance(module, list) else module
        target = f"{first}.{target}"
    return _classes().get(target)


def is_loading_argument(name: str) -> bool:
    """Return whether an argument of this name makes a constructor load or download something.

    Example:
        >>> [is_loading_argument(name) for name in ("pretrained", "model_url", "use_checkpoint", "drop_path_rate")]
        [True, True, False, False]
    """
    return _LOADING.search(name) is not None


@cache
def _classes() -> dict[str, type[nn.Module]]:
    """Return the classes by the names of their packages and by those of the modules that define them."""
    classes = {}
    for package, names in _ALLOWED.items():
        module = importlib.import_module(package)
        for name in names.split():
            # a name may be missing in another release of MONAI or PyTorch
            found = getattr(module, name, None)
            if isinstance(found, type) and issubclass(found, nn.Module):
                classes[f"{package}.{name}"] = found
                classes[f"{found.__module__}.{name}"] = found
    return classes
