"""The shells of the sections' machines: links, threads, processes and files.

What is decided stands in the machines beside this package; here it meets the world. Nothing
outside the command line and the plugin imports from here, and both do so only when a section
is really used.
"""
