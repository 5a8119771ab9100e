"""What a run leaves, as data: manifest, records, the run folder's layout. Computes nothing."""
