"""Small real data sets, in the units they were measured in."""

from emlearn.datasets._loaders import load_airquality, load_cdnow, load_earthquakes, load_old_faithful

__all__ = ["load_airquality", "load_cdnow", "load_earthquakes", "load_old_faithful"]
