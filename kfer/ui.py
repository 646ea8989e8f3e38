"""The Analyze tab and the ``/analyze`` endpoint: the one module of kfer's that knows gradio.

The tab is one HTML component that ``static/analyze.js`` brings to life; it posts photos to the
routes of ``kfer.web``, so that a page's photo never passes Gradio's upload cache.
"""

import html
import logging
from pathlib import Path
from typing import Any
from zlib import crc32

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj_with_meta, is_http_url_like, traverse

from kfer import __version__
from kfer.bundle import CARD, Bundle
from kfer.errors import KferError, PhotoError
from kfer.faces import BUILT_IN
from kfer.labels import COLORS, TAXONOMIES, get_taxonomy, list_targets
from kfer.photos import open_photo
from kfer.pipeline import NO_FACE, describe
from kfer.recognizer import Recognizer
from kfer.render import draw_analysis
from kfer.surrogate import Surrogate
from kfer.texts import ACTION_UNITS, TEXTS
from kfer.web import AT_ONCE, MAX_BYTES, build_size_error, encode_jpeg

STATIC = Path(__file__).parent / "static"
CSS = STATIC / "kfer.css"
NO_UPLOAD = "photo must be an uploaded file; send it with handle_file(...)."
EXAMPLES = ("group", "happiness", "fluster", "anger", "sadness")

_log = logging.getLogger(__name__)


class Blocks(gr.Blocks):
    """Refuses addresses for files.

    Gradio would fetch whatever lies there into memory, however long it is, before the endpoint
    is asked.
    """

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any
    ) -> Any:
        traverse(inputs, _refuse_address, is_file_obj_with_meta)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def build_header() -> gr.HTML:
    """The line above the tabs: name, one sentence, language switch."""
    return gr.HTML(
        f"""<header class="kfer-header">
          <h1>KFER</h1>
          <p>{_span("tagline")}</p>
          <div class="kfer-languages" role="group" aria-label="언어 · Language">
            <button type="button" data-language="ko" lang="ko">한국어</button>
            <button type="button" data-language="en" lang="en">English</button>
          </div>
        </header>""",
        head=_load_scripts("language"),
        js_on_load="kferMountHeader(element)",
        apply_default_css=False,
        padding=False,
    )


def build_tab(recognizer: Recognizer, missing: KferError | None) -> None:
    """Lay out the Analyze tab. ``missing``: why the configured model could not be had, if so."""
    gr.HTML(
        _render_tab(recognizer, missing),
        head=_load_scripts("units", "analyze"),
        js_on_load="kferMountAnalyze(element, props.config)",
        config=_build_config(recognizer),
        apply_default_css=False,
        padding=False,
    )


def build_about_tab(recognizer: Recognizer) -> None:
    """What KFER is for, what it does with photos, and the card of every offered model."""
    sections = "".join(
        f"<h2>{_span(f'about_{name}_title')}</h2><p>{_span(f'about_{name}')}</p>"
        for name in ("use", "privacy", "licence")
    )
    gr.HTML(
        f'<div class="kfer-about">{sections}<p>{_span("about_version")} {__version__}</p></div>',
        js_on_load="kferMountTexts(element)",
    )
    for bundle in recognizer.bundles.values():
        card = bundle.folder / CARD
        if card.is_file():
            with gr.Accordion(bundle.identity, open=len(recognizer.bundles) == 1):
                text = _strip_front_matter(card.read_text(encoding="utf-8", errors="replace"))
                gr.Markdown(text, elem_classes=["kfer-model-card"])


def register_api(recognizer: Recognizer) -> None:
    """Offer ``/analyze`` to gradio_client and curl; same photos, same answers as the page."""

    def analyze(
        photo: gr.FileData,
        model: str | None = None,
        detector: str | None = "mtcnn",
        taxonomy: str | None = None,
    ) -> tuple[gr.FileData, dict[str, Any]]:
        """Read the faces of a photo: the annotated photo, and the readings as JSON."""
        name = _get(photo, "orig_name") or "photo"
        try:
            analysis = recognizer.analyze(
                open_photo(_take_upload(photo)), model, detector or "mtcnn", taxonomy
            )
        except KferError as error:
            raise gr.Error(str(error), print_exception=False) from None
        except Exception:
            _log.exception("analyze failed")
            raise gr.Error("The photo could not be read; the fault is logged.") from None
        picture = save_bytes_to_cache(
            encode_jpeg(draw_analysis(analysis)), "kfer.jpg", str(get_upload_folder())
        )
        return gr.FileData(path=picture, mime_type="image/jpeg"), describe(analysis, name)

    gr.api(analyze, api_name="analyze", concurrency_limit=AT_ONCE, concurrency_id="model")


def _refuse_address(file: dict[str, Any]) -> dict[str, Any]:
    if is_http_url_like(file["path"]):
        raise gr.Error(NO_UPLOAD, print_exception=False)
    return file


def _take_upload(photo: Any) -> bytes:
    """The upload's bytes; the file is deleted at once, read or not.

    Only files in Gradio's own upload folder: a path that a caller made up is refused.
    """
    path = Path(_get(photo, "path") or "").resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or path.is_dir():
        raise PhotoError(NO_UPLOAD)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise build_size_error()
        return path.read_bytes()
    except FileNotFoundError:
        # Gradio keeps equal uploads at one place: another call may have read and deleted it.
        raise PhotoError(
            "The uploaded photo is gone: an upload is read once and deleted; upload it again."
        ) from None
    finally:
        path.unlink(missing_ok=True)


def _get(photo: Any, key: str) -> Any:
    """gr.api hands over the JSON object as it came, not the annotated class."""
    return photo.get(key) if isinstance(photo, dict) else getattr(photo, key, None)


def _build_config(recognizer: Recognizer) -> dict[str, Any]:
    """What the script must know: texts, colours, English names and each model's taxonomies."""
    return {
        "texts": TEXTS,
        "colors": COLORS,
        "english": {
            taxonomy.name: dict(zip(taxonomy.labels, taxonomy.english, strict=True))
            for taxonomy in TAXONOMIES.values()
        },
        "actionUnits": ACTION_UNITS,
        "models": [_describe_model(bundle) for bundle in recognizer.bundles.values()],
        "maxBytes": MAX_BYTES,
        "noFace": NO_FACE,
    }


def _describe_model(bundle: Bundle) -> dict[str, Any]:
    own = [head.taxonomy.name for head in bundle.heads]
    mapped = [target for head in bundle.heads for target in list_targets(head.taxonomy)]
    taxonomies = list(dict.fromkeys([*own, *mapped]))
    return {
        "identity": bundle.identity,
        "own": own,
        "taxonomies": taxonomies,
        "unreachable": {name: _list_unreachable(bundle, name) for name in taxonomies},
        "unsureBelow": bundle.unsure_below,
        "units": _describe_surrogate(bundle.surrogate) if bundle.surrogate else None,
    }


def _describe_surrogate(surrogate: Surrogate) -> dict[str, Any]:
    """What the page shows of it: with means and intercepts, it could read action units."""
    shown = ("taxonomy", "labels", "units", "coefficients", "low", "high", "counts", "explained",
             "pictures", "agreement", "baseline", "rendered")  # fmt: skip
    return {name: getattr(surrogate, name) for name in shown}


def _list_unreachable(bundle: Bundle, name: str) -> tuple[str, ...]:
    return bundle.get_mapping(get_taxonomy(name)).unreachable


def _render_tab(recognizer: Recognizer, missing: KferError | None) -> str:
    page = (STATIC / "analyze.html").read_text(encoding="utf-8")
    replacements = {
        "notice": _render_notice(missing),
        "examples": "".join(_render_example(name) for name in EXAMPLES),
        "models": "".join(
            f'<option value="{html.escape(identity)}">{html.escape(identity)}</option>'
            for identity in recognizer.bundles
        ),
        "detectors": "".join(
            f'<option value="{name}" {_both(TEXTS[f"detector_{name}"])}></option>'
            for name in BUILT_IN
        ),
    }
    for key, value in replacements.items():
        page = page.replace(f"[[{key}]]", value)
    for key in TEXTS:
        page = page.replace(f"[[text:{key}]]", _span(key))
    return page


def _render_notice(missing: KferError | None) -> str:
    """The summary only: the details, with folders and addresses, are for the host's log."""
    if missing is None:
        return ""
    reason = _show(missing.SUMMARY)
    return f'<p class="kfer-notice" role="status">{_span("model_notice")} {reason}</p>'


def _render_example(name: str) -> str:
    korean, english = TEXTS["example"]
    return (
        f'<button type="button" class="kfer-example" data-example="{name}">'
        f'<img src="kfer/examples/{name}.webp" alt="{korean} · {english}: {name}" loading="lazy">'
        "</button>"
    )


def _load_scripts(*names: str) -> str:
    # With their checksums, so that no browser goes on with those of an older app.
    return "".join(
        f'<script src="kfer/static/{name}.js?{crc32((STATIC / f"{name}.js").read_bytes()):x}">'
        "</script>"
        for name in names
    )


def _strip_front_matter(card: str) -> str:
    return (card.startswith("---\n") and card.partition("\n---\n")[2]) or card


def _both(text: tuple[str, str]) -> str:
    korean, english = (html.escape(words, quote=True) for words in text)
    return f'data-ko="{korean}" data-en="{english}"'


def _show(text: tuple[str, str]) -> str:
    """A text that the script shows in the chosen language; Korean until it runs."""
    return f"<span {_both(text)}>{html.escape(text[0])}</span>"


def _span(key: str) -> str:
    return _show(TEXTS[key])
