"""What runs slips: all I/O of this room."""
