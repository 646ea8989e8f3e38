"""A photo goes in, readings come out.

The law of imports, kept by ``tests/test_architecture.py``:
app > kfer, survey; training > kfer; survey > kfer.labels, kfer.photos, kfer.metrics, kfer.errors,
kfer.files, kfer.version; kfer > nothing of ours. gradio only in ``kfer.ui``; torch and timm only in
the classifier and the detectors that need them; importing ``kfer`` itself loads neither.
"""

from kfer.version import __version__

__all__ = ["__version__"]
