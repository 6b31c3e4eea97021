package event

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// ID is an event's id: a timeuuid.
type ID [16]byte

// IncarnationBits is how many bits of an incarnation an id keeps.
const IncarnationBits = 30

// The times that events may have.
var (
	MinTime = time.Unix(0, 0).UTC()
	MaxTime = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) // exclusive
)

// gregorianTicks is the Unix epoch in 100 ns since 1582-10-15, where timeuuids begin.
const gregorianTicks = 122192928000000000

// CheckTime reports a time that no event may have.
func CheckTime(t time.Time) error {
	if t.Before(MinTime) || !t.Before(MaxTime) {
		return errors.New("must lie from 1970 to 2200")
	}
	return nil
}

// makeID puts a time (cut to 100 ns) and 62 bits together.
func makeID(t time.Time, bits uint64) ID {
	ticks := uint64(t.Unix()*1e7+int64(t.Nanosecond()/100)) + gregorianTicks
	var id ID
	binary.BigEndian.PutUint32(id[0:], uint32(ticks))
	binary.BigEndian.PutUint16(id[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(id[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint64(id[8:], bits&(1<<62-1)|1<<63)
	return id
}

// The counter is the first 32 of the 62 bits: six in byte 8, then bytes 9 to 11,
// then two bits of byte 12. Flipping the sign of the bytes after the first makes
// their signed order the counter's order. Byte 8 always has the variant's sign.
const counterFlip = 0x0080808080000000

func withCounter(t time.Time, counter, low30 uint32) ID {
	return makeID(t, (uint64(counter)<<IncarnationBits|uint64(low30&(1<<IncarnationBits-1)))^counterFlip)
}

// IDs makes ids. It is safe for concurrent use.
type IDs struct {
	incarnation uint32
	counter     atomic.Uint64 // the ids' counter in the low half; how often that wrapped in the high half
}

// NewIDs makes ids of an incarnation: a number drawn at random for each start, of
// which 30 bits count.
func NewIDs(incarnation uint32) *IDs { return &IDs{incarnation: incarnation} }

// Next makes the next id of a time. Ids of equal times are in the order in which
// they were made, up to 2^32 of them; a counter that wraps moves on to the next
// incarnation, so that no id is made twice.
func (m *IDs) Next(t time.Time) ID {
	n := m.counter.Add(1) - 1
	return withCounter(t, uint32(n), m.incarnation+uint32(n>>32))
}

// KeyID is the id of an event with a key: always the same for the same time and
// key, so that a producer that delivers twice stores once.
func KeyID(t time.Time, key []byte) ID {
	sum := sha256.Sum256(key)
	return makeID(t, binary.BigEndian.Uint64(sum[:]))
}

// LineID is the id of a line of a file: in line order for equal times, and the
// same each time the file is loaded. hash is of the line; 30 bits count.
func LineID(t time.Time, line, hash uint32) ID { return withCounter(t, line, hash) }

// FirstID is the smallest id of a time, as timeuuids are ordered.
func FirstID(t time.Time) ID {
	return makeID(t, 0x8080808080808080)
}

// LastID is the largest id of a time, as timeuuids are ordered.
func LastID(t time.Time) ID {
	return makeID(t, 0x3f7f7f7f7f7f7f7f)
}

// LineHash is the hash of a line for LineID. It is part of the ids that repeated
// loads must make again, so it never changes.
func LineHash(line []byte) uint32 {
	sum := sha256.Sum256(line)
	return binary.BigEndian.Uint32(sum[:])
}

// Time is the event's time.
func (id ID) Time() time.Time {
	ticks := uint64(binary.BigEndian.Uint16(id[6:])&0x0fff)<<48 | uint64(binary.BigEndian.Uint16(id[4:]))<<32 | uint64(binary.BigEndian.Uint32(id[0:]))
	n := int64(ticks) - gregorianTicks
	seconds := n / 1e7
	if n%1e7 < 0 {
		seconds--
	}
	return time.Unix(seconds, (n-seconds*1e7)*100).UTC()
}

// Compare orders ids as Cassandra orders timeuuids: by time, then by the other
// bytes as signed ones.
func (id ID) Compare(o ID) int {
	if d := id.Time().Compare(o.Time()); d != 0 {
		return d
	}
	for i := 8; i < len(id); i++ {
		if d := cmp.Compare(int8(id[i]), int8(o[i])); d != 0 {
			return d
		}
	}
	return 0
}

// String writes the id in the usual form of UUIDs.
func (id ID) String() string { return uuid.UUID(id).String() }

// AppendText appends the usual form of UUIDs.
func (id ID) AppendText(dst []byte) []byte {
	const hex = "0123456789abcdef"
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hex[b>>4], hex[b&0xf])
	}
	return dst
}

// MarshalText writes the usual form of UUIDs.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil), nil }

// UnmarshalText reads what ParseID reads.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = parseID(text)
	return err
}

// ParseID reads an id in its usual form: 36 characters, version 1, of a time
// that events may have.
func ParseID(s string) (ID, error) { return parseID([]byte(s)) }

func parseID(s []byte) (ID, error) {
	if len(s) != 36 || bytes.IndexByte(s, '{') >= 0 {
		return ID{}, fmt.Errorf("is no timeuuid: give 36 characters such as %s", FirstID(MinTime))
	}
	u, err := uuid.ParseBytes(s)
	if err != nil {
		return ID{}, fmt.Errorf("is no timeuuid: give 36 characters such as %s", FirstID(MinTime))
	}
	id := ID(u)
	if u.Version() != 1 || u.Variant() != uuid.RFC4122 {
		return ID{}, fmt.Errorf("is a UUID of version %d: an event's id must be a timeuuid (version 1)", u.Version())
	}
	if err := CheckTime(id.Time()); err != nil {
		return ID{}, fmt.Errorf("has a time that %w", err)
	}
	return id, nil
}
