"""What does the ledger's and the supervisor's bidding: links, child processes, clocks."""
