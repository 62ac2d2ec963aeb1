"""Where rows come from: one file per connector, found by the user's word."""
