package record

import (
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf8"
)

// Kind is a CQL type that a clustering or regular column may have. Values are
// CQL's own bytes. As text it is CQL's name, which is how the catalog writes it.
type Kind uint8

// The kinds.
const (
	Text      Kind = 1
	ASCII     Kind = 2
	Blob      Kind = 3
	Boolean   Kind = 4
	Tinyint   Kind = 5
	Smallint  Kind = 6
	Int       Kind = 7
	Bigint    Kind = 8
	Float     Kind = 9
	Double    Kind = 10
	Timestamp Kind = 11 // milliseconds since the Unix epoch, signed 64 bit
	Date      Kind = 12 // days, unsigned 32 bit with 1970-01-01 at 2^31
	Time      Kind = 13 // nanoseconds of the day
	UUID      Kind = 14
	TimeUUID  Kind = 15
	Inet      Kind = 16
)

// kindTraits says how values of a kind look.
type kindTraits struct {
	name string
	size int // fixed size; 0: variable
}

var kinds = [...]kindTraits{
	Text: {"text", 0}, ASCII: {"ascii", 0}, Blob: {"blob", 0}, Boolean: {"boolean", 1},
	Tinyint: {"tinyint", 1}, Smallint: {"smallint", 2}, Int: {"int", 4}, Bigint: {"bigint", 8},
	Float: {"float", 4}, Double: {"double", 8}, Timestamp: {"timestamp", 8}, Date: {"date", 4},
	Time: {"time", 8}, UUID: {"uuid", 16}, TimeUUID: {"timeuuid", 16}, Inet: {"inet", 0},
}

// String returns the kind's CQL name.
func (k Kind) String() string {
	if k.Known() {
		return kinds[k].name
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return k > 0 && int(k) < len(kinds) }

// MarshalText writes the kind's CQL name.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.Known() {
		return nil, fmt.Errorf("record: unknown %s", k)
	}
	return []byte(kinds[k].name), nil
}

// UnmarshalText reads a CQL name of a kind that this version knows.
func (k *Kind) UnmarshalText(text []byte) error {
	for i := range kinds {
		if kinds[i].name == string(text) && i > 0 {
			*k = Kind(i)
			return nil
		}
	}
	return fmt.Errorf("record: unknown type %q", text)
}

// Check reports what is wrong with a value of the kind.
func (k Kind) Check(value []byte) error {
	if !k.Known() {
		return fmt.Errorf("record: unknown %s", k)
	}
	if size := kinds[k].size; size > 0 && len(value) != size {
		return fmt.Errorf("record: a %s has %d bytes, not %d", k, size, len(value))
	}
	switch k {
	case Text:
		if !utf8.Valid(value) {
			return fmt.Errorf("record: text is not valid UTF-8")
		}
	case ASCII:
		for _, b := range value {
			if b >= utf8.RuneSelf {
				return fmt.Errorf("record: ascii has the byte 0x%02x", b)
			}
		}
	case Boolean:
		if value[0] > 1 {
			return fmt.Errorf("record: a boolean is 0 or 1, not %d", value[0])
		}
	case TimeUUID:
		if value[6]>>4 != 1 || value[8]>>6 != 2 {
			return fmt.Errorf("record: not a timeuuid (version 1)")
		}
	case Inet:
		if len(value) != 4 && len(value) != 16 {
			return fmt.Errorf("record: an inet has 4 or 16 bytes, not %d", len(value))
		}
	}
	return nil
}

// The separators of Cassandra's byte-comparable sequences (version OSS41): a
// component begins with separator, a whole sequence ends with terminator, and a
// bound ends with below or above.
const (
	above      = 0x60
	separator  = 0x40
	terminator = 0x38
	below      = 0x20
)

// AppendSuffix appends clustering values in Cassandra's byte-comparable form
// (version OSS41), so that byte order is CQL's order, ASC and DESC. Values of
// all columns make a whole suffix; fewer make a prefix for AppendBoundBelow and
// AppendBoundAbove. The error names the column whose value is wrong.
func (s *Shape) AppendSuffix(dst []byte, values ...[]byte) ([]byte, error) {
	if len(values) > len(s.Clustering) {
		return dst, fmt.Errorf("record: %d clustering values for %d columns", len(values), len(s.Clustering))
	}
	for i, value := range values {
		c := s.Clustering[i]
		if err := c.Kind.Check(value); err != nil {
			return dst, fmt.Errorf("clustering column %d: %w", i+1, err)
		}
		dst = appendComponent(append(dst, separator), c, value)
	}
	if len(values) == len(s.Clustering) && len(values) > 0 {
		dst = append(dst, terminator)
	}
	return dst, nil
}

// AppendBoundBelow turns the suffix that AppendSuffix made of some of the columns
// into the inclusive start of all rows that begin with them.
func AppendBoundBelow(prefix []byte) []byte { return append(prefix, below) }

// AppendBoundAbove turns the suffix that AppendSuffix made of some of the columns
// into the exclusive end of all rows that begin with them.
func AppendBoundAbove(prefix []byte) []byte { return append(prefix, above) }

// DecodeSuffix is the inverse of AppendSuffix for a whole suffix.
func (s *Shape) DecodeSuffix(suffix []byte) ([][]byte, error) {
	values := make([][]byte, 0, len(s.Clustering))
	for i, c := range s.Clustering {
		value, rest, err := takeComponent(suffix, c)
		if err != nil {
			return nil, fmt.Errorf("record: clustering column %d: %w", i+1, err)
		}
		values, suffix = append(values, value), rest
	}
	if len(s.Clustering) > 0 {
		if len(suffix) != 1 || suffix[0] != terminator {
			return nil, fmt.Errorf("record: clustering suffix has a wrong end: %w", ErrCorrupt)
		}
	} else if len(suffix) > 0 {
		return nil, fmt.Errorf("record: clustering suffix without clustering columns: %w", ErrCorrupt)
	}
	return values, nil
}

// appendComponent appends one value's comparable bytes, all bits flipped for DESC.
func appendComponent(dst []byte, c Component, value []byte) []byte {
	at := len(dst)
	switch c.Kind {
	case Text, ASCII, Blob, Inet:
		dst = appendEscaped(dst, value)
	case Tinyint, Smallint, Int, Bigint, Timestamp:
		dst = append(append(dst, value[0]^0x80), value[1:]...)
	case Float, Double:
		dst = appendFloat(dst, value)
	case UUID, TimeUUID:
		dst = appendUUID(dst, c.Kind, value)
	default: // Boolean, Date, Time: unsigned already
		dst = append(dst, value...)
	}
	if c.Desc {
		invert(dst[at:])
	}
	return dst
}

// takeComponent takes the separator and the first value off a suffix; the
// value is a copy.
func takeComponent(suffix []byte, c Component) (value, rest []byte, err error) {
	if len(suffix) == 0 || suffix[0] != separator || !c.Kind.Known() {
		return nil, nil, ErrCorrupt
	}
	suffix = suffix[1:]
	size := kinds[c.Kind].size
	if size == 0 {
		return takeEscaped(suffix, c)
	}
	value = make([]byte, size)
	if rest, err = takeFixed(value, suffix, c); err != nil {
		return nil, nil, err
	}
	return value, rest, nil
}

// takeFixed takes a value of fixed size, after its separator, into value.
func takeFixed(value, suffix []byte, c Component) (rest []byte, err error) {
	if copy(value, suffix) < len(value) {
		return nil, ErrCorrupt
	}
	if c.Desc {
		invert(value)
	}
	switch c.Kind {
	case Tinyint, Smallint, Int, Bigint, Timestamp:
		value[0] ^= 0x80
	case Float, Double:
		if value[0]&0x80 != 0 {
			value[0] ^= 0x80
		} else {
			invert(value)
		}
	case UUID, TimeUUID:
		restoreUUID(c.Kind, value)
	}
	if c.Kind.Check(value) != nil {
		return nil, ErrCorrupt
	}
	return suffix[len(value):], nil
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

func appendFloat(dst, value []byte) []byte {
	at := len(dst)
	dst = append(dst, value...)
	if value[0]&0x80 != 0 {
		invert(dst[at:])
	} else {
		dst[at] ^= 0x80
	}
	return dst
}

// appendEscaped writes bytes of any length so that no encoding is a prefix of
// another: n zeros become 00 FE(n-1 times) FF, the end is 00, and zeros at the
// end of the value end in FE instead.
func appendEscaped(dst, value []byte) []byte {
	for i, b := range value {
		switch {
		case b != 0 && i > 0 && value[i-1] == 0:
			dst = append(dst, 0xff, b)
		case b != 0:
			dst = append(dst, b)
		case i > 0 && value[i-1] == 0:
			dst = append(dst, 0xfe)
		default:
			dst = append(dst, 0)
		}
	}
	if n := len(value); n > 0 && value[n-1] == 0 {
		return append(dst, 0xfe)
	}
	return append(dst, 0)
}

func takeEscaped(suffix []byte, c Component) (value, rest []byte, err error) {
	flip := byte(0)
	if c.Desc {
		flip = 0xff
	}
	value = []byte{}
	for i := 0; i < len(suffix); i++ {
		b := suffix[i] ^ flip
		if b != 0 {
			value = append(value, b)
			continue
		}
		// A zero: the end, or the first of a run of zeros.
		run := 0
		for i+1+run < len(suffix) && suffix[i+1+run]^flip == 0xfe {
			run++
		}
		next := i + 1 + run
		switch {
		case next < len(suffix) && suffix[next]^flip == 0xff:
			if next+1 < len(suffix) && suffix[next+1]^flip == 0 {
				return nil, nil, ErrCorrupt // zeros that belong to the run
			}
			value = append(value, make([]byte, run+1)...)
			i = next
		case run > 0:
			return checked(append(value, make([]byte, run)...), suffix[next:], c)
		default:
			return checked(value, suffix[i+1:], c)
		}
	}
	return nil, nil, ErrCorrupt
}

func checked(value, rest []byte, c Component) ([]byte, []byte, error) {
	if err := c.Kind.Check(value); err != nil {
		return nil, nil, ErrCorrupt
	}
	return value, rest, nil
}

// signedBytes flips the sign of each byte of the lower half of a timeuuid, which
// Cassandra compares as signed bytes.
const signedBytes = 0x8080808080808080

// appendUUID moves the version digit first; of version 1 the time follows, its
// high part first.
func appendUUID(dst []byte, kind Kind, u []byte) []byte {
	hi, lo := binary.BigEndian.Uint64(u), binary.BigEndian.Uint64(u[8:])
	version := hi >> 12 & 0xf
	if version == 1 {
		hi = hi<<48 | hi<<16&0xffff00000000 | hi>>32
	} else {
		hi = version<<60 | hi>>4&0x0ffffffffffff000 | hi&0xfff
	}
	if kind == TimeUUID {
		lo ^= signedBytes
	}
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, hi), lo)
}

func restoreUUID(kind Kind, u []byte) {
	hi, lo := binary.BigEndian.Uint64(u), binary.BigEndian.Uint64(u[8:])
	if hi>>60 == 1 {
		hi = hi<<32 | hi>>16&0xffff0000 | hi>>48
	} else {
		hi = hi<<4&0xffffffffffff0000 | hi>>60<<12 | hi&0xfff
	}
	if kind == TimeUUID {
		lo ^= signedBytes
	}
	binary.BigEndian.PutUint64(u, hi)
	binary.BigEndian.PutUint64(u[8:], lo)
}

// gregorianTicks is the Unix epoch in 100 ns since 1582-10-15.
const gregorianTicks = 122192928000000000

// uuidTicks is the time of a timeuuid in 100 ns since the Unix epoch.
func uuidTicks(u []byte) int64 {
	hi := binary.BigEndian.Uint64(u)
	ticks := hi&0xfff<<48 | hi<<16&0xffff00000000 | hi>>32
	return int64(ticks) - gregorianTicks
}

func timestampTime(value []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(value)))
}
