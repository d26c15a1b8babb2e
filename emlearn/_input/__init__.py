"""What users hand over is read in one place: tables, arrays, columns, sequences."""
