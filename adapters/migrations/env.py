"""What alembic runs to render statements; nothing else imports it."""

from alembic import context

from adapters.migrations import TABLE

context.configure(dialect_name=context.config.attributes["dialect"], version_table=TABLE)
context.run_migrations()
