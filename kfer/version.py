"""The version of KFER, by Semantic Versioning."""

__version__ = "0.1.0"
