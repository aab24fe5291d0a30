"""Where the projection lies in Postgres: what the projector writes and the gateway reads.

A change of the tables is a new schema name: the projector fills it by replay, and the old one may be dropped.
"""

SCHEMA = "projection_2"
"""Every connection has it as its `search_path`; the tables are in `services/projector/schema.sql`.

A rebuild puts another schema in its place under the same name, between two statements: a reader names the tables
without a schema, and asks in one statement what must fit together.
"""
