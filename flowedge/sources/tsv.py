"""Tab-separated text."""

from flowedge.sources.contract import connector
from flowedge.sources.csv import Csv, options_with


@connector("tsv")
class Tsv(Csv):
    """Read tab-separated text; the same as `csv` with a tab between the cells."""

    options = options_with("\t")
