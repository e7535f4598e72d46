# SPDX-License-Identifier: Apache-2.0
"""Baselines of domain generalisation: trainings on several sites for a site that no training has seen."""

from akd_monai.generalisation.baselines import baseline_config, baseline_names
from akd_monai.generalisation.disentangle import DisentangleOptions, DisentangleTrainer
from akd_monai.generalisation.elastic import RandElasticd
from akd_monai.generalisation.in_use import check_in_use
from akd_monai.generalisation.mixed_statistics import mix_statistics
from akd_monai.generalisation.mixstyle import MixStyle, Partner
from akd_monai.generalisation.random_convolution import RandConv, RandConvd
from akd_monai.generalisation.saml import SamlOptions, SamlTrainer, saml_name
from akd_monai.generalisation.site_sampler import SiteSampler

__all__ = [
    "DisentangleOptions",
    "DisentangleTrainer",
    "MixStyle",
    "Partner",
    "RandConv",
    "RandConvd",
    "RandElasticd",
    "SamlOptions",
    "SamlTrainer",
    "SiteSampler",
    "baseline_config",
    "baseline_names",
    "check_in_use",
    "mix_statistics",
    "saml_name",
]
