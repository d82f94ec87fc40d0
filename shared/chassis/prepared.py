"""Statements of busy paths: compiled once, then handed to the driver as text and plain values.

SQLAlchemy looks every statement's compiled form up again, and wraps cursor, result and each row; that is two thirds of
what a short transaction costs. Here the text and the ways of its values in and out are found at the first run. What
listens to statements (spans, counts, faults on purpose) hears of these as of any other, and their errors are mapped
alike.

    _BY_KEY = Prepared(select(table).where(table.c.key == bindparam("key")))
    await database.query(lambda connection: _BY_KEY.run(connection, {"key": "a"}).one_or_none())
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from sqlalchemy import Connection, Dialect
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import TextualSelect, UpdateBase
from sqlalchemy.sql.selectable import Select

Fixed: TypeAlias = Select[Any] | TextualSelect | UpdateBase
"""What can be prepared: no lists that grow with their values (`IN`), nothing but bind parameters that changes."""

_Convert: TypeAlias = Callable[[Any], Any] | None

Found: TypeAlias = Any
"""A row: a named tuple with the statement's columns."""


class Rows(Sequence[Found]):
    """What a statement has returned; `rowcount`: how many rows it has matched."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Found], rowcount: int) -> None:
        self._rows, self.rowcount = rows, rowcount

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: Any) -> Any:
        return self._rows[at]

    def __iter__(self) -> Iterator[Found]:
        return iter(self._rows)

    def one_or_none(self) -> Found | None:
        """The only row, None when there is none. Raises `MultipleResultsFound`."""
        if len(self._rows) > 1:
            raise MultipleResultsFound("more than one row")
        return self._rows[0] if self._rows else None

    def one(self) -> Found:
        """The only row. Raises `NoResultFound`, `MultipleResultsFound`."""
        row = self.one_or_none()
        if row is None:
            raise NoResultFound("no row")
        return row


class Prepared:
    """A statement for `Database.transact` and `Database.query`, run with values by name."""

    __slots__ = ("_forms", "_statement")

    def __init__(self, statement: Fixed) -> None:
        self._statement = statement
        # by dialect, and by the names that it is run with: an UPDATE sets the columns that it is given
        self._forms: dict[tuple[str, tuple[str, ...]], _Form] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> Rows:
        """Run it on the connection of a transaction. Raises what `connection.execute` raises."""
        dialect = connection.dialect
        form = self._forms.get((dialect.name, tuple(values)))
        if form is None:
            form = self._forms[dialect.name, tuple(values)] = _Form(self._statement, tuple(values), dialect)
        return form.run(connection, form.bound(values))


class _Context:
    """Stands for SQLAlchemy's context of an execution, for those who are told of statements."""

    executemany = False

    def handle_dbapi_exception(self, error: BaseException) -> None:
        """Nothing to clean up."""


class _Form:
    """The statement as one dialect has it, for values of these names."""

    __slots__ = ("_columns", "_parameters", "_row", "_text")

    def __init__(self, statement: Fixed, names: tuple[str, ...], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=sorted(names))
        if not isinstance(compiled, SQLCompiler) or compiled.literal_execute_params or compiled.post_compile_params:
            raise TypeError(f"not to be prepared, as its text depends on its values: {statement}")
        self._text = str(compiled)
        self._parameters: list[tuple[str | None, Any, _Convert]] = []
        for name in compiled.positiontup or ():
            bind = compiled.binds[name]
            convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
            constant = None if name in names else bind.effective_value
            key = name if name in names else None
            self._parameters.append((key, convert(constant) if convert and key is None else constant, convert))
        columns = statement.exported_columns
        # no class where nothing comes back
        self._row: Any = namedtuple("Row", [str(name) for name in columns.keys()]) if columns else None  # noqa: PYI024, SIM118
        self._columns: list[tuple[int, Callable[[Any], Any]]] = []
        for at, column in enumerate(columns):
            read = column.type.dialect_impl(dialect).result_processor(dialect, None)
            if read is not None:
                self._columns.append((at, read))

    def bound(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(
            [
                constant if name is None else values[name] if convert is None else convert(values[name])
                for name, constant, convert in self._parameters
            ]
        )

    def run(self, connection: Connection, parameters: tuple[Any, ...]) -> Rows:
        context, dispatch = _Context(), connection.dispatch
        cursor: Any = None
        for listener in dispatch.before_cursor_execute:
            listener(connection, cursor, self._text, parameters, context, False)
        try:
            cursor = connection.connection.cursor()
            for listener in connection.dialect.dispatch.do_execute:
                listener(cursor, self._text, parameters, context)
            cursor.execute(self._text, parameters)
            found = cursor.fetchall() if self._row is not None else []
            rowcount = cursor.rowcount
            cursor.close()
        except BaseException as error:  # noqa: BLE001 - cancellation, too, costs the connection
            _fail(connection, error, self._text, parameters, cursor, context)
        for listener in dispatch.after_cursor_execute:
            listener(connection, cursor, self._text, parameters, context, False)
        return Rows([self._read(row) for row in found], rowcount)

    def _read(self, row: Sequence[Any]) -> Found:
        if not self._columns:
            return self._row._make(row)
        values = list(row)
        for at, read in self._columns:
            values[at] = read(values[at])
        return self._row._make(values)


def _fail(connection: Any, error: BaseException, *about: Any) -> NoReturn:
    # only SQLAlchemy knows how an error is mapped, and when a connection is to be thrown away
    connection._handle_dbapi_exception(error, *about)  # noqa: SLF001
    raise error
