"""How a run is looked after: what it tells of itself, to whom, and how it is given another pipeline."""
