"""The round robin in virtual time: balancers, workers and clients, and what befalls them."""
