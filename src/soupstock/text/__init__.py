"""What can be measured of one text. Knows no rows."""
