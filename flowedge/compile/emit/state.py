"""Where a kernel keeps what it remembers: registers for a stream without keys, a record for each key else."""

from dataclasses import dataclass, field

from flowedge.compile.emit.writer import Cell, Names, Record, Sheet, literal


@dataclass
class State:
    """Cells of state, and rings of fixed length, for the steps of one kernel.

    With `keyed`, a cell is read where it is used and written back after each step, so that a row
    that a filter drops touches no memory behind the filter. Without keys the cells are local
    variables, loaded before the loop and stored at every way out.
    """

    sheet: Sheet
    names: Names
    keyed: bool
    record: Record = field(default_factory=Record)
    block: int = 0
    registers: list[Cell] = field(default_factory=list)
    """Cells that live in local variables, when there are no keys."""
    turns: "list[Turn]" = field(default_factory=list)
    timed: "list[TimedRing]" = field(default_factory=list)
    strips: bool = False
    """Rings turn over between strips of rows, outside the hot loop; else in it."""
    uses_arena: bool = False
    scratch_words: int = 0
    kept: set[str] = field(default_factory=set)
    """Cells that a restart leaves alone: where a ring lies in the arena."""
    busy: list[str] = field(default_factory=list)
    """Cells that are not 0 while the key may still give rows by itself, without one that comes."""
    stays: list[str] = field(default_factory=list)
    """Cells that stay when the record is given to another key: where a ring lies in the arena."""
    lost: list[tuple[str, int]] = field(default_factory=list)
    """Cells, and signs, whose sum is lost when the key is forgotten, as at the end of the input."""
    bounds: list[tuple[dict[str, int], int, str]] = field(default_factory=list)
    """(factors by word, constant, word): the sum is not below 0 where the last word, if named, is not 0."""
    totals: list[tuple[str, str]] = field(default_factory=list)
    """Cells whose sum over all keys is a word of the globals."""
    ring_slots: list[tuple[tuple[str, ...], int, int, int]] = field(default_factory=list)
    """(cells of a ring, words of an element, the one that is a slot, which input's) of rings in the arena."""
    block_words: dict[str, int] = field(default_factory=dict)
    """Words of the block that have a name."""
    _cells: dict[str, Cell] = field(default_factory=dict)
    _memory: set[str] = field(default_factory=set)

    def cell(self, stem: str, start: float | int, *, in_memory: bool = False) -> str:
        """A new cell; its name stands for it in `get`, `put`, `target`, `store`.

        With `in_memory` it lies in the record even without keys, for what is read by address.
        """
        name = self.sheet.fresh(f"s_{stem}")
        cell = self.record.add(name, start)
        self._cells[name] = cell
        if self.keyed or in_memory:
            self._memory.add(name)
        else:
            self.registers.append(cell)
        return name

    def address(self, name: str) -> str:
        """Text of the address of a cell."""
        return f"r + {self._cells[name].offset}"

    def get(self, name: str) -> str:
        """Text that reads a cell."""
        if name not in self._memory:
            return name
        return f"{self._cells[name].load}({self.address(name)}, 0)"

    def target(self, name: str) -> str:
        """A variable to assign a cell's new value to; follow it by `store`."""
        return name

    def store(self, name: str) -> None:
        """Write the variable of a cell back to its record."""
        if name in self._memory:
            self.sheet(f"set_{self._cells[name].load}({self.address(name)}, 0, {name})")

    def put(self, name: str, value: str) -> None:
        """Give a cell a new value."""
        if name in self._memory:
            self.sheet(f"set_{self._cells[name].load}({self.address(name)}, 0, {value})")
        else:
            self.sheet(f"{name} = {value}")

    def kind(self, name: str) -> str:
        """``f64`` or ``i64``: how a cell is stored."""
        return self._cells[name].load

    def offset(self, name: str) -> int:
        """Where a cell lies in the record [bytes]."""
        return self._cells[name].offset

    def never_negative(self, factors: dict[str, int], constant: int = 0, when: str = "") -> None:
        """State that a sum of words is not below 0 between calls; a snapshot in which it is, is refused.

        Parameters
        ----------
        factors : by the name of a cell, of a word of the globals or the block, or "arena": the words in use there
        when : only where this word is not 0
        """
        self.bounds.append((factors, constant, when))

    def within(self, low: int, name: str, high: int | str) -> None:
        """State that a word lies from `low` to `high`, itself a number or a word."""
        self.never_negative({name: 1}, -low)
        if isinstance(high, str):
            self.never_negative({high: 1, name: -1})
        else:
            self.never_negative({name: -1}, high)

    def keep(self, *names: str) -> None:
        """Exempt cells from `restart`."""
        self.kept.update(names)

    def scratch(self, words: int) -> str:
        """Text of the address of scratch memory that any row may overwrite."""
        self.scratch_words = max(self.scratch_words, words)
        return "scratch"

    def ring(self, length: int) -> str:
        """Text of a float64 array of this length, one for each key; contents undefined at the start."""
        return f"array_f64({self.ring_address(length)}, {length})"

    def ring_address(self, length: int) -> str:
        """Text of the address of `length` float64 words in the key's block."""
        offset = self.block
        self.block += 8 * length
        return f"(b + {offset})" if offset else "b"

    def load_registers(self) -> None:
        """Before the loop: state into local variables."""
        for cell in self.registers:
            self.sheet(f"{cell.name} = {cell.load}(r + {cell.offset}, 0)")

    def store_registers(self) -> None:
        """At a way out: local variables into the record."""
        for cell in self.registers:
            self.sheet(f"set_{cell.load}(r + {cell.offset}, 0, {cell.name})")

    def restart(self) -> None:
        """At a gap: every cell as at the start."""
        for cell in self.record.cells:
            if cell.name in self.kept:
                continue
            if cell in self.registers:
                self.sheet(f"{cell.name} = {literal(cell.start)}")
            else:
                self.sheet(f"set_{cell.load}(r + {cell.offset}, 0, {literal(cell.start)})")


@dataclass(frozen=True, slots=True)
class Turn:
    """A two-stack ring of `count` rows: its position cell, and the call that turns it over."""

    position: str
    count: int
    flip: tuple[str, ...]
    clear: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimedRing:
    """A ring in the arena that must have room for one more row before the row changes anything.

    Room to work behind the arena is asked for when all rings have grown.
    """

    make_room: tuple[str, ...]
    work: tuple[str, ...] = ()
