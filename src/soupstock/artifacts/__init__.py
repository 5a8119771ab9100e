"""What a run leaves, as data: manifest, records, the folder's layout. Computes nothing."""
