"""Reading other people's pickles without running anything that is in them.

Unpickling runs whatever code a file names, and even a few harmless looking names (``numpy.ndarray`` with a buffer)
can corrupt memory.  So Python's unpickler is not used.  A small machine reads the opcodes with the readers of
``pickletools`` and knows what files of numbers are made of:

- None, truth values, whole numbers of 64 bits, floats, text, bytes, lists, tuples, dictionaries, sets;
- numpy arrays and scalars of whole numbers, floats, truth values or text, of numpy 1 or 2, Python 2 or 3; an array
  of objects is kept as a stand-in without its contents;
- objects of classes that the caller lists, as stand-ins that have a state and no behaviour.

A name in a pickle is looked up in a table of `pickled_names` or of the caller; nothing is imported.  What may be called
are the few functions of `pickled_names`, which check what they are given; states are set on stand-ins alone.
Opcodes, bytes and nested lists are counted, so that a small file cannot ask for work or memory without end.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from hf_handdiff.errors import InputError
from hf_handdiff.hand.pickled_names import (
    FUNCTIONS,
    TOKENS,
    PickledClass,
    PickledFunction,
    check_key,
    make_set,
    new_instance,
)
from hf_handdiff.hand.pickled_values import Allowance, PickledArray, PickledDtype, PickledInstance, describe, printable

_LONGEST_NUMBER = 40  # characters of a number that is written as text
_MOST_MEMOIZED = 1 << 20
_STEPS_OF_AN_OBJECT = 20  # a call or a state takes as long as so many plain opcodes
_STEPS_OF_A_GROUP = 3  # tuples and marks, which Python's collector goes through
_NEWEST_PROTOCOL = 5


class RefusedPickleError(InputError):
    """A pickle asks for a class or function that its kind of file has no need of."""


def read_file_up_to(path: Path, most_bytes: int) -> bytes:
    """The contents of a file.

    Raises:
        InputError: it is larger than `most_bytes`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InputError(f"it is larger than {most_bytes >> 20} MB")
    return content


def load_restricted_pickle(
    content: bytes,
    kind: str,
    classes: Mapping[tuple[str, str], str] | None = None,
    allowance: Allowance | None = None,
) -> dict[str, Any]:
    """The dictionary in a pickle, of Python 2 or 3; nothing in it is run and nothing is imported for it.

    Args:
        content: the bytes of the pickle.
        kind: what kind of file it should be, for messages: "MANO file".
        classes: (module, name) of further classes -> what to call them, "a chumpy array".
        allowance: what reading may take; counted down.

    Returns:
        Its entries: Python's own values, `PickledArray` and `PickledInstance`; see `pickled_values.to_array`.

    Raises:
        RefusedPickleError: it asks for another class or function; the message names it.
        InputError: it is damaged, holds something that files of this kind do not, or no dictionary.
    """
    machine = _Machine(kind, classes or {}, allowance or Allowance())
    try:
        loaded = machine.run(io.BytesIO(content))
    except InputError:
        raise
    except (ValueError, OverflowError, IndexError, struct.error, RecursionError, MemoryError) as error:
        # what the readers of pickletools raise about damaged arguments
        raise InputError(f"it is damaged: {printable(str(error)) or type(error).__name__}") from None
    if type(loaded) is not dict:
        raise InputError(f"it holds {describe(loaded)}, expected a dictionary")
    if not all(type(name) is str for name in loaded):
        raise InputError("the names of its entries are not all text")
    return loaded


# --------------------------------------------------------------------------------------------- the machine


class _Machine:
    """The stack and the memo of one pickle; `stack` is what lies above the last mark."""

    def __init__(self, kind: str, classes: Mapping[tuple[str, str], str], allowance: Allowance):
        self.kind, self.classes, self.allowance = kind, classes, allowance
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        """What the pickle holds."""
        while code := file.read(1):
            self.allowance.spend(steps=1)
            if code == b".":
                return self.pop()
            if code not in _OPCODES:
                raise InputError(f"it has the opcode {code!r}, which no {self.kind} has")
            read_argument, act = _OPCODES[code]
            act(self, None if read_argument is None else read_argument(file))
        raise InputError("it is cut off")

    # A method for each opcode, by its name in `pickletools`; `argument` is what follows the opcode in the file.

    def pop(self) -> Any:
        if not self.stack:
            raise InputError("it takes a value where there is none")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.below_marks:
            raise InputError("it goes back to a mark where there is none")
        items, self.stack = self.stack, self.below_marks.pop()
        return items

    def top(self, cls: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not cls:
            raise InputError(f"it adds to something that is not a {cls.__name__}")
        return self.stack[-1]

    def PROTO(self, protocol: int) -> None:
        if protocol > _NEWEST_PROTOCOL:
            raise InputError(f"it is of pickle protocol {protocol}, expected at most {_NEWEST_PROTOCOL}")

    def FRAME(self, num_bytes: int) -> None:
        pass  # a hint for reading ahead

    def push(self, argument: Any) -> None:
        self.stack.append(argument)

    def push_whole_number(self, number: int) -> None:
        if not -(1 << 63) <= number < 1 << 64:
            raise InputError("it has a whole number of more than 64 bits")
        self.stack.append(number)

    def BYTEARRAY8(self, content: bytearray) -> None:
        self.stack.append(bytes(content))

    def NONE(self, _) -> None:
        self.stack.append(None)

    def NEWTRUE(self, _) -> None:
        self.stack.append(True)

    def NEWFALSE(self, _) -> None:
        self.stack.append(False)

    def EMPTY_LIST(self, _) -> None:
        self.stack.append([])

    def EMPTY_TUPLE(self, _) -> None:
        self.stack.append(())

    def EMPTY_DICT(self, _) -> None:
        self.stack.append({})

    def EMPTY_SET(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_AN_OBJECT)
        self.stack.append(set())

    def MARK(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_A_GROUP)
        self.below_marks.append(self.stack)
        self.stack = []

    def POP(self, _) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_to_mark()

    def POP_MARK(self, _) -> None:
        self.pop_to_mark()

    def DUP(self, _) -> None:
        value = self.pop()
        self.stack += [value, value]

    def LIST(self, _) -> None:
        items = self.pop_to_mark()
        self.stack.append(items)

    def TUPLE(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_A_GROUP)
        items = self.pop_to_mark()
        self.stack.append(tuple(items))

    def TUPLE1(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_A_GROUP)
        self.stack.append((self.pop(),))

    def TUPLE2(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_A_GROUP)
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def TUPLE3(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_A_GROUP)
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def FROZENSET(self, _) -> None:
        self.allowance.spend(steps=_STEPS_OF_AN_OBJECT)
        self.stack.append(make_set(self.allowance, self.pop_to_mark()))

    def DICT(self, _) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self._set_items(items)

    def APPEND(self, _) -> None:
        value = self.pop()
        self.top(list).append(value)

    def APPENDS(self, _) -> None:
        items = self.pop_to_mark()
        self.top(list).extend(items)

    def SETITEM(self, _) -> None:
        value, key = self.pop(), self.pop()
        self._set_items([key, value])

    def SETITEMS(self, _) -> None:
        self._set_items(self.pop_to_mark())

    def _set_items(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise InputError("it has a key without a value")
        values = self.top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            check_key(key, self.allowance)
            values[key] = value

    def ADDITEMS(self, _) -> None:
        members = make_set(self.allowance, self.pop_to_mark())
        self.top(set).update(members)

    def put(self, index: int) -> None:
        if not 0 <= index < _MOST_MEMOIZED:
            raise InputError(f"it numbers a value {printable(index)}, expected less than {_MOST_MEMOIZED}")
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def MEMOIZE(self, _) -> None:
        self.put(len(self.memo))

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise InputError(f"it has no value of the number {printable(index)}")
        self.stack.append(self.memo[index])

    def GLOBAL(self, names: str) -> None:
        module, _, name = names.partition(" ")
        self._name(module, name)

    def STACK_GLOBAL(self, _) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise InputError("it asks for a class or function whose name is not text")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        self.allowance.spend(steps=_STEPS_OF_A_GROUP)
        key = (module, name)
        if key in self.classes:
            self.stack.append(PickledClass(self.classes[key]))
        elif key in FUNCTIONS or key in TOKENS:
            self.stack.append(FUNCTIONS.get(key) or TOKENS[key])
        else:
            asked = f"{printable(module)}.{printable(name)}"
            raise RefusedPickleError(f"it asks for {asked}, which no {self.kind} holds")

    def REDUCE(self, _) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, PickledFunction) or type(arguments) is not tuple:
            raise InputError(f"it calls {describe(function)}, which no {self.kind} does")
        if len(arguments) not in function.num_arguments:
            raise InputError(f"it calls a function with {len(arguments)} arguments, which no {self.kind} does")
        self.allowance.spend(steps=_STEPS_OF_AN_OBJECT)
        self.stack.append(function.call(self.allowance, *arguments))

    def NEWOBJ(self, _) -> None:
        arguments, cls = self.pop(), self.pop()
        if arguments != ():
            raise InputError(f"it makes an object with arguments, which no {self.kind} does")
        self.allowance.spend(steps=_STEPS_OF_AN_OBJECT)
        self.stack.append(new_instance(cls))

    def BUILD(self, _) -> None:
        state, value = self.pop(), self.pop()
        self.allowance.spend(steps=_STEPS_OF_AN_OBJECT)
        if isinstance(value, PickledArray):
            value.set_state(state, self.allowance)
        elif isinstance(value, (PickledDtype, PickledInstance)):
            value.set_state(state)
        else:
            raise InputError(f"it sets the state of {describe(value)}, which no {self.kind} does")
        self.stack.append(value)


# -------------------------------------------------------------------------------------------- the opcodes


def _short_line(read: Callable[[BinaryIO], Any]) -> Callable[[BinaryIO], Any]:
    """A reader of numbers that are written as text, refusing long ones before they are converted."""

    def read_short_line(file: BinaryIO) -> Any:
        start = file.tell()
        if len(file.readline(_LONGEST_NUMBER + 1)) > _LONGEST_NUMBER:
            raise InputError(f"it has a number of more than {_LONGEST_NUMBER} characters")
        file.seek(start)
        return read(file)

    return read_short_line


def _read_string(file: BinaryIO) -> str:
    """A quoted string of Python 2; the reader of `pickletools` takes ASCII alone."""
    return codecs.escape_decode(pickletools.read_stringnl(file, decode=False))[0].decode("latin1")


_PUSHED = (
    "FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8"
).split()
_WHOLE_NUMBERS = "INT BININT BININT1 BININT2 LONG LONG1 LONG4".split()
_ACTIONS = {
    **dict.fromkeys(_PUSHED, _Machine.push),
    **dict.fromkeys(_WHOLE_NUMBERS, _Machine.push_whole_number),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
} | {name: action for name, action in vars(_Machine).items() if name.isupper()}


def _reader(opcode: pickletools.OpcodeInfo) -> Callable[[BinaryIO], Any] | None:
    if opcode.name == "STRING":
        return _read_string
    if opcode.arg is None:
        return None
    return (
        _short_line(opcode.arg.reader) if opcode.name in ("INT", "LONG", "FLOAT", "GET", "PUT") else opcode.arg.reader
    )


_OPCODES = {
    opcode.code.encode("latin1"): (_reader(opcode), _ACTIONS[opcode.name])
    for opcode in pickletools.opcodes
    if opcode.name in _ACTIONS
}
"""What follows an opcode, and what it does. Persistent ids, extension codes, classes called with arguments and
buffers outside of the file are missing: no file of numbers has them."""
