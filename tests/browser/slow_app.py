"""The app with a recognizer that needs SLOW_SECONDS for every photo: ``python -m`` this, PORT set.

A process of its own, because Playwright and Gradio both want the event loop of a test's.
"""

import os

import app
from kfer.web import build_routes
from tests.kfer.fake_recognizer import FakeRecognizer, build_reading
from tests.survey.samples import build_empty_survey


def main() -> None:
    recognizer = FakeRecognizer(
        [build_reading((200, 100, 200, 200))], seconds=float(os.environ["SLOW_SECONDS"])
    )
    blocks = app.build_app(recognizer, None, *build_empty_survey())
    app.launch(blocks, app.read_settings(os.environ), build_routes(recognizer))
    blocks.block_thread()


if __name__ == "__main__":
    main()
