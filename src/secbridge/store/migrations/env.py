"""How does alembic reach the database?  Through the connection that the store gives it.

The transaction around it is the store's, so that all steps stand or fall together.
"""

from alembic import context

from secbridge.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
