# SPDX-License-Identifier: Apache-2.0
"""Start a MONAI Label server with bundles, in one call."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from akd_monai.files import as_path, atomic_write, check_writable
from akd_monai.label._bundles import choose_bundles
from akd_monai.label._checks import check_address, check_studies, check_uncertainty, require_monailabel
from akd_monai.label._copies import served_copy

__all__ = ["serve"]

_MAIN = """# Written by "python -m akd_monai label"; MONAI Label looks for its app here.
from akd_monai.label._app import app_class

App = app_class()
"""


def serve(
    studies: str | Path,
    *,
    models: str | Sequence[str] = (),
    bundles_dir: str | Path = "bundles",
    app_dir: str | Path = "label_app",
    host: str = "127.0.0.1",
    port: int = 8000,
    uncertainty: str | None = None,
) -> None:
    """Serve bundles with MONAI Label until Ctrl-C or SIGTERM; the bundles are trusted, and what their configs say is run.

    Args:
        studies: MONAI Label's word for the images: their folder (``*.nii.gz``, ``*.nii``, ``*.nrrd``), or the address of a
            DICOMweb server. Labels go to ``labels/`` in the folder.
        models: names of the bundles; by default all of ``bundles_dir`` that have weights. A string is split at commas.
        bundles_dir: folder of the bundles' folders, which are not changed: the server works on copies. Their configs are
            programs, and the server runs them: serve only bundles whose author you trust. The verb check shows what they
            run.
        app_dir: folder of the server, with the copies of the bundles, their training and MLflow's ``mlruns.db``.
        host: address to listen on. There is no password: keep to ``127.0.0.1`` unless the network is trusted.
        port: port to listen on.
        uncertainty: name of the bundle that scores images without label by its uncertainty; its network must have a
            ``dropout``.

    Raises:
        InputError: if MONAI Label is not installed, or for folders, bundles, weights or a port that cannot be used.
        UnknownNameError: for a bundle that does not exist.

    Example:
        >>> serve("images", models="prostate_mri_enet", uncertainty="prostate_mri_enet")  # doctest: +SKIP
    """
    require_monailabel()
    names = models.split(",") if isinstance(models, str) else models
    wanted = [name.strip() for name in names if name.strip()]
    check_studies(studies)
    bundles = choose_bundles(bundles_dir, wanted)
    if uncertainty is not None:
        check_uncertainty(uncertainty, bundles)
    check_address(host, port)
    folder = as_path(app_dir, "app_dir").resolve()
    check_writable(folder / "model")
    for name, bundle in bundles.items():
        served_copy(bundle, folder / "model" / name)
    atomic_write(folder / "main.py", _MAIN)
    conf = {"models": ",".join(bundles), "zoo_source": "local", "sam2": "false"}
    if uncertainty is not None:
        conf["epistemic_model"] = uncertainty
    _run(folder, ["--studies", str(studies), "--host", host, "--port", str(port)], conf)


def _run(app_dir: Path, options: list[str], conf: dict[str, str]) -> None:
    from monailabel.config import settings
    from monailabel.main import Main

    if not settings.MONAI_LABEL_TRACKING_URI:
        settings.MONAI_LABEL_TRACKING_URI = f"sqlite:///{(app_dir / 'mlruns.db').as_posix()}"
    command = ["start_server", "--app", str(app_dir), *options]
    for name, value in conf.items():
        command += ["--conf", name, value]
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
