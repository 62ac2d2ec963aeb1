"""What the checker reasons with: value types, units, streams and their shapes."""
