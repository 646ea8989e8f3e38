"""A photo goes in, readings come out.

The law of imports, kept by ``tests/test_architecture.py``:
app > kfer, survey; training > kfer; survey > kfer.labels, kfer.photos, kfer.metrics, kfer.errors;
kfer > nothing of ours. gradio only in ``kfer.ui``; torch and timm only in the classifier side
(``classifier``, ``faces``); importing ``kfer`` itself loads neither.
"""

__version__ = "0.1.0"
