"""Models inside the stream: read safely, verified, called with one fixed batch."""
