"""Small data sets, in the units they were measured in; what is artificial says so."""

from emlearn.datasets._loaders import (
    load_airquality,
    load_cdnow,
    load_earthquakes,
    load_election,
    load_fed_funds,
    load_npreg,
    load_old_faithful,
    load_tone_perception,
)

__all__ = [
    "load_airquality",
    "load_cdnow",
    "load_earthquakes",
    "load_election",
    "load_fed_funds",
    "load_npreg",
    "load_old_faithful",
    "load_tone_perception",
]
