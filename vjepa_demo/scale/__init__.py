"""The same embedding as a job of an engine, and tables of vectors that open elsewhere. An extra: nothing imports it but
the shell, and the page where it is started with a table; what it needs (`requirements-scale.txt`) is needed by nothing
else.
"""
