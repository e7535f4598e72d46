# SPDX-License-Identifier: Apache-2.0
"""Start a MONAI Label server with bundles, in one call."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from akd_monai.bundle import build_network
from akd_monai.errors import InputError
from akd_monai.files import atomic_write
from akd_monai.label.bundles import choose_bundles, served_copy

__all__ = ["REQUIREMENTS", "require_monailabel", "serve"]

logger = logging.getLogger(__name__)

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_INSTALL = f"python -m pip install --no-deps -r {REQUIREMENTS}"
_MAIN = """# Written by "python -m akd_monai label"; MONAI Label looks for its app here.
from akd_monai.label.app import app_class

App = app_class()
"""


def serve(
    studies: str,
    *,
    models: str | Sequence[str] = (),
    bundles_dir: str | Path = "bundles",
    app_dir: str | Path = "label_app",
    host: str = "127.0.0.1",
    port: int = 8000,
    uncertainty: str | None = None,
) -> str:
    """Serve bundles with MONAI Label until Ctrl-C or SIGTERM.

    Args:
        studies: folder of the images (``*.nii.gz``, ``*.nii``, ``*.nrrd``), or the address of a DICOMweb server. Labels go
            to ``labels/`` in the folder.
        models: names of the bundles; by default all of ``bundles_dir`` that have weights.
        bundles_dir: folder of the bundles' folders; they are not changed.
        app_dir: folder of the server, with copies of the bundles, their training and MLflow's ``mlruns.db``.
        host: address to listen on. There is no password: keep to ``127.0.0.1`` unless the network is trusted.
        port: port to listen on.
        uncertainty: name of the bundle that scores images without label by its uncertainty; its network must have a
            ``dropout``.

    Raises:
        InputError: where MONAI Label is not installed, or for folders, bundles, weights or a port that will not do.
    """
    require_monailabel()
    names = [n.strip() for n in (models.split(",") if isinstance(models, str) else models) if n.strip()]
    _check_studies(studies)
    bundles = choose_bundles(bundles_dir, names)
    if uncertainty is not None:
        _check_uncertainty(uncertainty, bundles)
    _check_port(host, port)
    folder = Path(app_dir).resolve()
    (folder / "model").mkdir(parents=True, exist_ok=True)
    for name, bundle in bundles.items():
        served_copy(bundle, folder / "model" / name)
    atomic_write(folder / "main.py", _MAIN)
    conf = {"models": ",".join(bundles), "zoo_source": "local", "sam2": "false"}
    if uncertainty is not None:
        conf["epistemic_model"] = uncertainty
    _run(folder, ["--studies", studies, "--host", host, "--port", str(port)], conf)
    return "The server has ended."


def require_monailabel() -> None:
    """See that MONAI Label can be imported.

    Raises:
        InputError: with the command that installs it.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise InputError(f"MONAI Label is not installed: install it into this environment with '{_INSTALL}'.")
    found, wanted = importlib.metadata.version("monailabel"), _pinned("monailabel")
    if found != wanted:
        logger.warning("MONAI Label %s is installed, only %s was tried", found, wanted)
    from akd_monai.label.app import torchvision_stand_in

    try:
        with torchvision_stand_in():
            import monailabel.interfaces.app  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"MONAI Label is installed but cannot be imported ({error}): install what was tried with '{_INSTALL}'."
        ) from error


def _pinned(name: str) -> str:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    return next(line.split("==")[1] for line in lines if line.startswith(f"{name}=="))


def _check_studies(studies: str) -> None:
    if studies.startswith(("http://", "https://")):
        return
    folder = Path(studies)
    if not folder.is_dir():
        raise InputError(f"studies {studies!r} is no folder; give the folder that the images lie in.")
    names = sorted(p.name for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz", ".nrrd")))
    masks = [name for name in names if name.split(".")[0].endswith("_segmentation")]
    if masks:
        raise InputError(
            f"{masks[0]!r} in {studies!r} is a mask, which MONAI Label would offer as an image: "
            "put masks into labels/final there, each under its image's name."
        )
    if not names:
        logger.warning("%s holds no *.nii.gz, *.nii or *.nrrd; folders below it are not searched", studies)


def _check_uncertainty(name: str, bundles: dict[str, Path]) -> None:
    if name not in bundles:
        raise InputError(f"uncertainty {name!r} is not among the served bundles: {', '.join(bundles)}.")
    network = build_network(bundles[name], config="inference.json", trust_bundle=True)
    if "dropout" not in inspect.signature(type(network)).parameters:
        raise InputError(
            f"the network of {name!r}, {type(network).__name__}, takes no 'dropout' and cannot score uncertainty; "
            "name another bundle, or none."
        )


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}:{port} ({error}); choose another host or port.") from error
    if host not in ("127.0.0.1", "localhost", "::1"):
        logger.warning(
            "everyone who reaches %s:%d can see the images and start training: there is no password", host, port
        )


def _run(app_dir: Path, options: list[str], conf: dict[str, str]) -> None:
    from monailabel.config import settings
    from monailabel.main import Main

    if not settings.MONAI_LABEL_TRACKING_URI:
        settings.MONAI_LABEL_TRACKING_URI = f"sqlite:///{(app_dir / 'mlruns.db').as_posix()}"
    command = ["start_server", "--app", str(app_dir), *options]
    command += [part for item in conf.items() for part in ("--conf", *item)]
    server = Main(actions="start_server")
    # uvicorn ends cleanly and then raises the signal again, for this handler
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        server.action_start_server(server.args_parser().parse_args(command))
    finally:
        signal.signal(signal.SIGTERM, before)
        _stop_tasks()


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _stop_tasks() -> None:
    """End training and scoring in the background, which would outlive the server."""
    from monailabel.utils.async_tasks import utils

    for method, executor in utils.background_executors.items():
        executor.shutdown(wait=False, cancel_futures=True)
        while utils.background_processes.get(method):
            utils.stop_background_task(method)
