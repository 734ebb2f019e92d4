"""What can be wrong with the tables of this room. Reading a name never raises."""


class MappingError(Exception):
    """Base of the errors of this room."""


class BadTable(MappingError):
    """A table cannot be used: the message names file and row, what is wrong and what to do."""

    def __init__(self, file: str, row: str, wrong: str) -> None:
        super().__init__(f"{file}, {row}: {wrong}")
        self.file = file
