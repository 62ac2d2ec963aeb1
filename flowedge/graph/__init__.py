"""From a checked syntax tree to a typed dataflow graph; its passes, its explanation, its drawing."""
