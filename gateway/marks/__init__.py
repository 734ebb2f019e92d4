"""Recognition marks: issued, looked up, withdrawn, told to others, printed, and given as Provenance."""
