"""Where rows leave: one file per connector, found by the user's word."""
