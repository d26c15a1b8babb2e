"""What users hand over is read in one place."""
