"""The word count's tokenizer in Python, against the bare contract: no SDK, only what componentize-py makes of the WIT."""

import re
from itertools import accumulate

from componentize_py_types import Err
from wit_world.exports.functions import Function, Kind
from wit_world.exports.transform import Applied, Opened
from wit_world.imports.types import (
    Batch,
    Column,
    DataType_String,
    Domain,
    Error,
    Field,
    Schema,
    Values_VarSize,
    VarSize,
)

WORD = re.compile(r'[^\s!,.?":;0-9]+')
TEXT = Schema([Field("value", DataType_String())], [0])


class Functions:
    def list_functions(self):
        return [Function("tokenize", Kind.FLAT_MAP, "Cuts a line into its words.", 0, "")]


class Transform:
    def open(self, function, input, config):
        if function != "tokenize":
            raise Err(Error(Domain.USER, f"no function {function!r}"))
        fields = [input.fields[root] for root in input.roots]
        if len(fields) != 1 or not isinstance(fields[0].data_type, DataType_String):
            raise Err(Error(Domain.USER, "tokenize takes rows of one string column"))
        return Opened(0, TEXT, [0], False)

    def apply(self, handle, input):
        lines = input.columns[input.roots[0]].values.value
        words, parents = [], []
        for row, (start, end) in enumerate(zip(lines.offsets, lines.offsets[1:])):
            found = WORD.findall(lines.data[start:end].decode())
            words += [word.encode() for word in found]
            parents += [row] * len(found)
        offsets = list(accumulate(map(len, words), initial=0))
        column = Column(len(words), None, Values_VarSize(VarSize(offsets, b"".join(words))))
        return Applied(Batch(len(words), [column], [0]), parents, [])
