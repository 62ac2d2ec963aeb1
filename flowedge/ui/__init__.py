"""What a person sees: progress, summaries, files shown."""
