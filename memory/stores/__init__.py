"""Where the operation log lives: one SQLite file, or Neo4j."""
