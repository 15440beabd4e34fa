"""What expressions mean as places in memory."""

import gdb

ADDRESS_MASK = (1 << 64) - 1


def place_of(text):
    """Address, length and type of what an expression means: of what it points to, else of itself; a number is an
    address. Length 0, type None: not known."""
    value = gdb.parse_and_eval(text)
    kind = value.type.strip_typedefs()
    if kind.code in (gdb.TYPE_CODE_REF, getattr(gdb, "TYPE_CODE_RVALUE_REF", -1)):
        value = value.referenced_value()
        kind = value.type.strip_typedefs()
    if kind.code != gdb.TYPE_CODE_PTR and value.address is not None:
        return int(value.address) & ADDRESS_MASK, kind.sizeof, kind
    if value.is_optimized_out:
        raise gdb.GdbError("%s: the compiler has optimized it out at this place in the code" % text)
    if kind.code == gdb.TYPE_CODE_PTR:
        target = kind.target().strip_typedefs()
        known = target.code not in (gdb.TYPE_CODE_VOID, gdb.TYPE_CODE_FUNC)
        return int(value) & ADDRESS_MASK, target.sizeof if known else 0, target if known else None
    if kind.code == gdb.TYPE_CODE_INT:
        return int(value) & ADDRESS_MASK, 0, None
    raise gdb.GdbError("%s: it is in no memory; expected an address or something that has one" % text)
