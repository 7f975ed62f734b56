"""Everything of graders that waits: threads, programs, HTTP, connections."""
