# SPDX-License-Identifier: Apache-2.0
"""What is checked before a server starts: installation, images, uncertainty, address."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import logging
import socket
from collections.abc import Mapping
from pathlib import Path

from akd_monai.bundle import build_network
from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path
from akd_monai.label._torchvision import torchvision_stand_in
from akd_monai.names import suggests_mask

__all__ = ["REQUIREMENTS", "check_address", "check_studies", "check_uncertainty", "require_monailabel"]

logger = logging.getLogger(__name__)

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_INSTALL = f"python -m pip install --no-deps -r {REQUIREMENTS}"
_IMAGES = (".nii", ".nii.gz", ".nrrd")
_LAST_PORT = 65535
_LOCAL = ("127.0.0.1", "localhost", "::1")


def require_monailabel() -> None:
    """Check that MONAI Label can be imported.

    Raises:
        InputError: with the command that installs it.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise InputError(f"MONAI Label is not installed: install it into this environment with '{_INSTALL}'.")
    found = importlib.metadata.version("monailabel")
    wanted = _pinned("monailabel")
    if found != wanted:
        logger.warning("MONAI Label %s is installed, only %s was tested", found, wanted)
    try:
        with torchvision_stand_in():
            import monailabel.interfaces.app  # noqa: F401 - whether it can be imported is the question
    except ImportError as error:
        raise InputError(
            f"MONAI Label is installed but cannot be imported ({error}): install what was tested with '{_INSTALL}'."
        ) from error


def _pinned(name: str) -> str:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{name}=="))


def check_studies(studies: str | Path) -> None:
    """Check the folder of the images; the address of a DICOMweb server is taken as it is.

    Raises:
        InputError: if the folder does not exist, or holds masks among the images.
    """
    if isinstance(studies, str) and studies.startswith(("http://", "https://")):
        return
    folder = as_path(studies, "studies")
    if not folder.is_dir():
        raise InputError(f"studies {str(studies)!r} is no folder; give the folder that the images lie in.")
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(_IMAGES))
    masks = [name for name in names if suggests_mask(name)]
    if masks:
        raise InputError(
            f"{masks[0]!r} in {str(studies)!r} is a mask by its name, which MONAI Label would offer as an image: "
            "put masks into labels/final there, each under its image's name, or rename it."
        )
    if not names:
        logger.warning("%s holds no *.nii.gz, *.nii or *.nrrd; folders below it are not searched", studies)


def check_uncertainty(name: str, bundles: Mapping[str, Path]) -> None:
    """Check that the bundle that scores uncertainty is served and has a network with dropout.

    Raises:
        UnknownNameError: if it is not served.
        InputError: if its network takes no ``dropout``.
    """
    if name not in bundles:
        raise unknown_name("bundle", name, bundles, where="for uncertainty, among those served")
    network = build_network(bundles[name], trust_bundle=True)
    if "dropout" not in inspect.signature(type(network)).parameters:
        raise InputError(
            f"the network of {name!r}, {type(network).__name__}, takes no 'dropout' and cannot score uncertainty; "
            "name another bundle, or none."
        )


def check_address(host: str, port: int) -> None:
    """Check that the server can listen there.

    Raises:
        InputError: if it cannot.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= _LAST_PORT:
        raise InputError(f"port must be an integer between 1 and {_LAST_PORT}, got {port!r}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port} ({error}); choose another host or port.") from error
    if host not in _LOCAL:
        logger.warning(
            "everyone who reaches %s:%d can see the images and start training: there is no password", host, port
        )
