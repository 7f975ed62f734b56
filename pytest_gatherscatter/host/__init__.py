"""What this machine gives us: private directories, locks that end with their owner, identities.

All of it touches the world; none of it knows the broker or a section.
"""
