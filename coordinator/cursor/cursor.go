package cursor

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"

	"github.com/dunlindb/dunlin/token"
)

// Cursor is a position between two pages: everything up to and including it has
// been seen. It holds nothing secret, and any node accepts it. Table and Reverse
// tie it to the request that it continues; the caller checks them.
type Cursor struct {
	Table             uint32
	Reverse           bool
	Token             token.Token
	Partition, Suffix []byte
}

// cursorVersion begins every cursor; another one is refused.
const cursorVersion = 1

// MaxLength bounds the text of a cursor: two keys of 64 KiB and what is around.
const MaxLength = (2*(64<<10) + 64) * 4 / 3

const cursorHead = 1 + 1 + 4 + 8 // version, flags, table, token

// String encodes the cursor for a client: version, position, checksum, in
// URL-safe base64.
func (c Cursor) String() string {
	b := make([]byte, 0, cursorHead+len(c.Partition)+len(c.Suffix)+2*binary.MaxVarintLen32+4)
	flags := byte(0)
	if c.Reverse {
		flags = 1
	}
	b = append(b, cursorVersion, flags)
	b = binary.BigEndian.AppendUint32(b, c.Table)
	b = binary.BigEndian.AppendUint64(b, c.Token.Ordinal())
	b = binary.AppendUvarint(b, uint64(len(c.Partition)))
	b = append(b, c.Partition...)
	b = binary.AppendUvarint(b, uint64(len(c.Suffix)))
	b = append(b, c.Suffix...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return base64.RawURLEncoding.EncodeToString(b)
}

// Parse decodes a client's cursor. The error is a *Error.
func Parse(s string) (Cursor, error) {
	var c Cursor
	if len(s) > MaxLength {
		return c, &Error{Reason: "it is too long"}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return c, &Error{Reason: "it is not URL-safe base64"}
	}
	if len(b) < cursorHead+2+4 {
		return c, &Error{Reason: "it is too short"}
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return c, &Error{Reason: "its checksum is wrong"}
	}
	if body[0] != cursorVersion || body[1] > 1 {
		return c, &Error{Reason: "it was made by another version"}
	}
	c.Reverse = body[1] == 1
	c.Table = binary.BigEndian.Uint32(body[2:])
	c.Token = token.FromOrdinal(binary.BigEndian.Uint64(body[6:]))
	rest := body[cursorHead:]
	var ok1, ok2 bool
	c.Partition, rest, ok1 = cutBytes(rest)
	c.Suffix, rest, ok2 = cutBytes(rest)
	if !ok1 || !ok2 || len(rest) > 0 {
		return Cursor{}, &Error{Reason: "it is damaged"}
	}
	if c.Token != token.Of(c.Partition) {
		return Cursor{}, &Error{Reason: "its token is not its partition's"}
	}
	return c, nil
}

// cutBytes takes a length and as many bytes off the front of b.
func cutBytes(b []byte) (field, rest []byte, ok bool) {
	n, width := binary.Uvarint(b)
	if width <= 0 || width != uvarintLen(int(n&(1<<32-1))) || n > uint64(len(b)-width) {
		return nil, nil, false
	}
	return b[width : width+int(n)], b[width+int(n):], true
}

// uvarintLen is the length of n as an unsigned varint.
func uvarintLen(n int) int {
	return len(binary.AppendUvarint(nil, uint64(n)))
}

// Error: a page cursor that was not made by this version of Dunlin, was
// damaged, or belongs to another request.
type Error struct{ Reason string }

// Error describes the error for people.
func (e *Error) Error() string {
	return "coordinator: the cursor is not valid: " + e.Reason + "; begin again without one"
}
