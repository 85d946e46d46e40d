"""Images, labels and how they are prepared for a network."""

from featherbone.data.preprocess import Preprocess as Preprocess
