"""Routing slips in virtual time: processors and those who give slips out, and what befalls them."""
