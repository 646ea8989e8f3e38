"""The app with a recognizer that needs SLOW_SECONDS for every photo: ``python -m`` this, PORT set.

A process of its own, because Playwright and Gradio both want the event loop of a test's.
"""

import os

import app
from kfer.uploads import claim_folder
from kfer.web import build_routes
from tests.kfer.fake_recognizer import FakeRecognizer, build_reading
from tests.survey.samples import build_empty_survey


def main() -> None:
    settings = app.read_settings(os.environ)
    uploads = claim_folder(settings.port)
    recognizer = FakeRecognizer(
        [build_reading((200, 100, 200, 200))], seconds=float(os.environ["SLOW_SECONDS"])
    )
    blocks = app.build_app(recognizer, None, *build_empty_survey())
    app.launch(blocks, settings, build_routes(recognizer), uploads)
    blocks.block_thread()


if __name__ == "__main__":
    main()
