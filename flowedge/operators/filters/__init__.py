"""Signal filters, which are functions too."""
