"""The database engine: Django's PostgreSQL engine that can bring its own server along.

With `OPTIONS = {"embedded": "<data directory>"}` the first connection of a process starts the
embedded PostgreSQL; without, it is a plain connection. Both refuse a PostgreSQL that is too old.
"""
