"""KFER's web app: reads the environment, builds the parts, lays the tabs, launches.

make app            # or: python app.py
HOST=0.0.0.0 PORT=8080 KFER_MODEL=hf-hub:owner/name python app.py
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import gradio as gr
from starlette.routing import BaseRoute

import kfer.ui
import kfer.uploads
import kfer.web
import survey.dashboard_web
import survey.ui
import survey.web
from kfer.errors import KferError
from kfer.recognizer import Recognizer, locate_bundle
from survey.dashboard import Dashboard
from survey.endpoints import Endpoints
from survey.errors import DatabaseError
from survey.records import ModelVersion
from survey.setup import open_survey

FONTS = ["Pretendard", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "sans-serif"]
# A link to a study, or back to one's own answers, leads to the tab to take part.
OPEN_SURVEY = """() => {
  const study = new URLSearchParams(location.search).has("study");
  if (!study && !location.hash.includes("code=")) return;
  document.getElementById("kfer-take-part-button")?.click();
}"""
LOCAL = ("localhost", "127.0.0.1", "::1")
CACHE_SECONDS = (60, 300)  # how often uploads and outputs are swept, and how old they may grow


@dataclass(frozen=True)
class Settings:
    """What the environment asks for."""

    host: str
    port: int
    model: str | None
    data_dir: Path
    database_url: str | None = None
    secret: str | None = None
    admin_token: str | None = None

    @property
    def address(self) -> str:
        """The host as it stands before a port: an IPv6 address is put in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises ValueError when PORT is no port."""
    host = environment.get("HOST") or environment.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    port = environment.get("PORT") or environment.get("GRADIO_SERVER_PORT") or "7860"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"PORT must be a number from 1 to 65535, but is {port!r}.")
    return Settings(
        host=host.strip("[]"),
        port=int(port),
        model=environment.get("KFER_MODEL") or None,
        data_dir=Path(environment.get("KFER_DATA_DIR") or "data"),
        database_url=environment.get("KFER_DATABASE_URL") or None,
        secret=environment.get("KFER_SECRET") or None,
        admin_token=environment.get("KFER_ADMIN_TOKEN") or None,
    )


def loses_answers(environment: Mapping[str, str]) -> bool:
    """Whether the app's folder ends with a Space's container, and no other place was named."""
    places = ("KFER_DATA_DIR", "KFER_DATABASE_URL")
    return "SPACE_ID" in environment and not any(environment.get(name) for name in places)


def build_recognizer(model: str | None) -> tuple[Recognizer, KferError | None]:
    """The configured model before the bundled one, or the bundled one and why it stands alone."""
    bundled = locate_bundle(None)
    if model is None:
        return Recognizer([bundled]), None
    try:
        recognizer = Recognizer([locate_bundle(model), bundled])
        recognizer.warm_up()  # damaged weights show only now
        return recognizer, None
    except KferError as error:
        return Recognizer([bundled]), error


def tell_time() -> datetime:
    return datetime.now(UTC)


def build_app(
    recognizer: Recognizer, missing: KferError | None, endpoints: Endpoints, dashboard: Dashboard
) -> gr.Blocks:
    blocks = kfer.ui.Blocks(title="KFER", analytics_enabled=False)
    with blocks:
        kfer.ui.build_header()
        with gr.Tabs(overflow_behavior="wrap"):  # on a phone, all tabs stay in sight
            with gr.Tab("표정 분석 · Analyze"):
                kfer.ui.build_tab(recognizer, missing)
            with gr.Tab("설문 참여 · Take part", elem_id="kfer-take-part"):
                survey.ui.build_tab()
            with gr.Tab("사람과 모델 · Compare"):
                survey.ui.build_comparison_tab()
            with gr.Tab("모델과 데이터 · About"):
                kfer.ui.build_about_tab(recognizer)
        kfer.ui.register_api(recognizer)
        survey.ui.register_api(endpoints, dashboard)
    blocks.queue(max_size=64, default_concurrency_limit=8)
    return blocks


def launch(blocks: gr.Blocks, settings: Settings, routes: list[BaseRoute], uploads: Path) -> None:
    """Start serving in the background, sweeping ``uploads``.

    Raises OSError when the port cannot be had.
    """
    # Gradio asks its own page once, which a proxy could not answer.
    exempt = [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), *LOCAL, settings.host]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, exempt))
    lifespan = kfer.uploads.build_lifespan(uploads, blocks.temp_file_sets, *CACHE_SECONDS)
    blocks.launch(
        server_name=settings.address,
        server_port=settings.port,
        app_kwargs={"routes": routes, "lifespan": lifespan},
        theme=gr.themes.Soft(font=FONTS, font_mono=["monospace"]),
        css_paths=[kfer.ui.CSS, *survey.ui.CSS],
        max_file_size=kfer.web.MAX_BYTES,
        blocked_paths=[str(settings.data_dir.resolve())],
        js=OPEN_SURVEY,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        pwa=False,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        state_session_capacity=1000,
        quiet=True,
        prevent_thread_lock=True,
    )


def main() -> None:
    """Exit status: 0 ended, 1 the app could not start, 2 the environment makes no sense."""
    # What ends a service or a container ends it as Ctrl+C does: nothing sent is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = read_settings(os.environ)
    except ValueError as error:
        sys.exit(_complain(str(error), 2))
    if loses_answers(os.environ):
        _complain(
            "this Space forgets every answer of a study when it sleeps or restarts; attach storage "
            "and set KFER_DATA_DIR to a folder on it, or set KFER_DATABASE_URL and KFER_SECRET.",
            0,
        )
    try:
        uploads = kfer.uploads.claim_folder(settings.port)  # before Gradio asks where it is
    except OSError as error:
        sys.exit(_complain(f"the folder for uploads cannot be made ({error}); set TMPDIR", 1))
    try:
        recognizer, missing = build_recognizer(settings.model)
        study = open_survey(
            settings.database_url,
            settings.data_dir,
            settings.secret,
            settings.admin_token,
            tell_time,
        )
    except KferError as error:
        sys.exit(_complain(str(error), 1))
    except OSError as error:
        sys.exit(_complain(f"KFER_DATA_DIR {settings.data_dir} cannot be used ({error})", 1))
    if missing:
        _complain(f"the bundled model is used instead of KFER_MODEL: {missing}", 0)
    blocks = build_app(recognizer, missing, study.endpoints, study.dashboard)
    routes = [
        *kfer.web.build_routes(recognizer),
        *survey.web.build_routes(study.engine, study.signer, study.endpoints),
        *survey.dashboard_web.build_routes(study.dashboard),
    ]
    try:
        launch(blocks, settings, routes, uploads)
    except OSError as error:
        sys.exit(
            _complain(
                f"port {settings.port} on {settings.host} cannot be used ({error}); "
                "stop what uses it, or choose another: PORT=7861 make app",
                1,
            )
        )
    sys.stderr.write(f"KFER: http://{settings.address}:{settings.port}\n")
    try:
        recognizer.warm_up()  # the page is already there; the first photo finds the model loaded
        for bundle in recognizer.bundles.values():
            predict = partial(recognizer.predict, model=bundle.identity)
            source = bundle.get_head(study.demo_taxonomy).taxonomy.name
            study.freeze_demo(predict, ModelVersion(bundle.name, bundle.revision, source))
    except DatabaseError as error:  # it may pass, and the page is already in use
        _complain(f"the model's answers to the demo study wait for the next start: {error}", 0)
    except KferError as error:
        blocks.close()
        sys.exit(_complain(str(error), 1))
    except KeyboardInterrupt:
        blocks.close(verbose=False)
    blocks.block_thread()


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"KFER: {message}\n")
    return status


if __name__ == "__main__":
    main()
