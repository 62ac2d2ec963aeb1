"""Where kernel and host find what they share: words of the context, and of the record of each field."""

import math

# ---- words of the context

DATA = 0  # address of the payloads: a zero byte behind each, behind the last as many as a name has, and 16
STARTS = 1  # address of int64[MESSAGES + 1]: where each begins; it ends one byte before the next
MESSAGES = 2
MESSAGE = 3  # the next one to do
ROW = 4  # rows that there are
ROOM = 5  # rows that there may be
COUNTS = 6  # address of int64[MESSAGES], out: the rows of each
IS_DONE = 7  # address of int64[MESSAGES], out: 1 where nothing is left to the slow way
FIELDS = 8  # address of the records
FIELD_COUNT = 9
IS_AUTO = 10  # 1: payloads that begin as another format does are passed by
SERIAL = 11  # number of the last reading, also of one that was given up
GUESSES = 12  # address of int32[PLACES]: which field stood at each place of a map last, -1 for none
OTHERS = 13  # address of int64[2 * MOST_OTHERS]: where keys of one map that are not declared stand, and their lengths
SCRATCH = 14  # address of 8 bytes
POWERS = 15  # address of `decimal.powers`
WIDTH = 16  # bytes that a row takes
VALUES = 17  # values in this message so far
HOW_MANY_DONE = 18  # messages, of all kernels
WORDS = 19

PLACES = 64
MOST_OTHERS = 24

# ---- words of a field's record

NAME = 0  # address of its name
LENGTH = 1  # bytes of its name
FRONT = 2  # the first eight of them, zero behind its end
KIND = 3
TO = 4  # address of the values
VALID = 5  # address of uint8[ROOM]: 0 where it is missing
OFFSETS = 6  # address of int32[ROOM + 1]: where texts begin
SIZE = 7  # length of a list, 0: no list
SEEN = 8  # the number of the reading in which it was last
LEAST = 9
MOST = 10
BYTES = 11  # of a row; of a text 0
HAS_MISSING = 12  # out: 1 where a value may be missing
RECORD = 13

F64, F32, I64, U64, TIME, I32, U32, I16, U16, I8, U8, TRUTH, TEXT, STRANGE = range(14)
"""Kinds of fields, those of whole numbers from the widest to the narrowest; one that is strange is left to the slow way where it has a value."""

# ---- what a value is

WHOLE, REAL, NOTHING, BOOLEAN, HUGE, STRANGER = range(6)
"""`HUGE`: a whole number from 2^63 on, its bits as a signed one."""

# ---- results

GIVEN_UP = -1
FULL = -2

F32_MOST = math.nextafter(2.0**128 - 2.0**103, 0.0)
"""The largest number that a float32 holds, rounded to nearest; the shortest text of the largest float32 is a little above that itself."""
