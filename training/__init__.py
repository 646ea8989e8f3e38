"""Labelled photos become a model bundle.

May import ``kfer``; never ``survey``, ``app``, gradio, sqlalchemy or facenet-pytorch.
"""
