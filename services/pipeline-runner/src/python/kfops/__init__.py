"""What pipelines written for Kfops 1 import, so that they compile unchanged."""

from kfops.tagger import versioned_image

__all__ = ["versioned_image"]
