"""Labelled photos become a model bundle.

May import ``kfer``; never ``survey``, ``app``, gradio, sqlalchemy or facenet-pytorch, so that it
also runs on a bare GPU machine that has only PyTorch, timm, Pillow, scikit-learn and pandas.
"""
