"""Graders in virtual time: examiners and those who ask them, and what befalls them."""
