"""Classification of images: one class for each, in folders of images."""

from bevkd.tasks.classification.data import ImageFolder
from bevkd.tasks.classification.metric import ClassificationMetric
from bevkd.tasks.classification.model import ImageClassifier, ImagePreprocessor, PlainCNN

__all__ = ["ClassificationMetric", "ImageClassifier", "ImageFolder", "ImagePreprocessor", "PlainCNN"]
