package record

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/token"
)

// Space is the part of a table that a key lies in.
type Space uint8

// The spaces. A table's rows are all in SpaceRows or all in SpaceWindows.
const (
	SpaceHeads   Space = 0 // partition heads: partition and range deletions, static row
	SpaceRows    Space = 1 // rows of a table without windows
	SpaceWindows Space = 2 // rows of a windowed table; the key has a window
)

// Shape is what keys need to know of a table.
type Shape struct {
	Table      uint32
	Window     time.Duration // width of a window; 0: the table is not windowed
	Clustering []Component   // of a windowed table the first is a timeuuid or timestamp
}

// Component is one clustering column.
type Component struct {
	Kind Kind
	Desc bool
}

// Key is a parsed storage key. Partition and Suffix alias what was parsed.
type Key struct {
	Table     uint32
	Space     Space
	Window    uint32 // SpaceWindows only
	Token     token.Token
	Partition []byte // partition key, as CQL writes it
	Suffix    []byte // encoded clustering columns; empty for heads
}

// PartitionMax is the longest partition key in bytes.
const PartitionMax = 1<<16 - 1

const (
	prefixSize = 4 + 1 // table, space
	windowSize = 4     // window
	tokenSize  = 8     // token
	pkLenSize  = 2     // length of the partition key
	fixedSize  = prefixSize + tokenSize + pkLenSize
)

// Space returns the space of the table's rows.
func (s *Shape) Space() Space {
	if s.Window > 0 {
		return SpaceWindows
	}
	return SpaceRows
}

// CheckPartition refuses a partition key that is too long for a storage key.
func CheckPartition(partition []byte) error {
	if len(partition) > PartitionMax {
		return fmt.Errorf("record: a partition key of %d bytes, at most %d", len(partition), PartitionMax)
	}
	return nil
}

// AppendHeadKey appends the key of a partition's head; CheckPartition first.
func (s *Shape) AppendHeadKey(dst []byte, t token.Token, partition []byte) []byte {
	dst = AppendSpacePrefix(dst, s.Table, SpaceHeads)
	return appendPartition(dst, t, partition)
}

// AppendRowKey appends the key of a row, given its encoded clustering columns.
// The error says what is wrong with the suffix of a windowed table.
func (s *Shape) AppendRowKey(dst []byte, t token.Token, partition, suffix []byte) ([]byte, error) {
	if err := CheckPartition(partition); err != nil {
		return dst, err
	}
	if s.Window == 0 {
		dst = AppendSpacePrefix(dst, s.Table, SpaceRows)
		return append(appendPartition(dst, t, partition), suffix...), nil
	}
	window, err := s.WindowOf(suffix)
	if err != nil {
		return dst, err
	}
	dst = s.AppendPartitionPrefix(dst, window, t, partition)
	return append(dst, suffix...), nil
}

// AppendPartitionPrefix appends what the keys of a partition's rows begin with;
// window is ignored for tables without windows.
func (s *Shape) AppendPartitionPrefix(dst []byte, window uint32, t token.Token, partition []byte) []byte {
	if s.Window == 0 {
		return appendPartition(AppendSpacePrefix(dst, s.Table, SpaceRows), t, partition)
	}
	return appendPartition(AppendWindowPrefix(dst, s.Table, window), t, partition)
}

// AppendSpacePrefix appends what all keys of a table's space begin with.
func AppendSpacePrefix(dst []byte, table uint32, space Space) []byte {
	return append(binary.BigEndian.AppendUint32(dst, table), byte(space))
}

// AppendWindowPrefix appends what all keys of a table's window begin with.
func AppendWindowPrefix(dst []byte, table, window uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendSpacePrefix(dst, table, SpaceWindows), window)
}

// AppendTokenPrefix appends what the keys of a token begin with after the space
// or window prefix.
func AppendTokenPrefix(dst []byte, t token.Token) []byte {
	return binary.BigEndian.AppendUint64(dst, t.Ordinal())
}

// AppendPartition appends token and partition key as they stand inside a key.
func AppendPartition(dst []byte, t token.Token, partition []byte) []byte {
	return appendPartition(dst, t, partition)
}

func appendPartition(dst []byte, t token.Token, partition []byte) []byte {
	dst = AppendTokenPrefix(dst, t)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(partition)))
	return append(dst, partition...)
}

// ParseKey takes a storage key apart.
func ParseKey(b []byte) (Key, error) {
	if len(b) < prefixSize {
		return Key{}, fmt.Errorf("record: key of %d bytes: %w", len(b), ErrCorrupt)
	}
	k := Key{Table: binary.BigEndian.Uint32(b), Space: Space(b[4])}
	b = b[prefixSize:]
	switch k.Space {
	case SpaceHeads, SpaceRows:
	case SpaceWindows:
		if len(b) < windowSize {
			return Key{}, fmt.Errorf("record: key ends in its window: %w", ErrCorrupt)
		}
		k.Window = binary.BigEndian.Uint32(b)
		b = b[windowSize:]
	default:
		return Key{}, fmt.Errorf("record: key in space %d: %w", k.Space, ErrCorrupt)
	}
	if len(b) < tokenSize+pkLenSize {
		return Key{}, fmt.Errorf("record: key ends in its token: %w", ErrCorrupt)
	}
	k.Token = token.FromOrdinal(binary.BigEndian.Uint64(b))
	n := int(binary.BigEndian.Uint16(b[tokenSize:]))
	b = b[tokenSize+pkLenSize:]
	if len(b) < n || (k.Space == SpaceHeads && len(b) > n) {
		return Key{}, fmt.Errorf("record: key's partition key has a wrong length: %w", ErrCorrupt)
	}
	k.Partition, k.Suffix = b[:n:n], b[n:]
	return k, nil
}

// KeyTable returns the table of a key, without looking at the rest.
func KeyTable(key []byte) (uint32, bool) {
	if len(key) < prefixSize {
		return 0, false
	}
	return binary.BigEndian.Uint32(key), true
}

// KeySpace returns the space of a key, without looking at the rest.
func KeySpace(key []byte) (Space, bool) {
	if len(key) < prefixSize || key[4] > byte(SpaceWindows) {
		return 0, false
	}
	return Space(key[4]), true
}

// KeyToken returns the token of a key, without looking at the rest.
func KeyToken(key []byte) (token.Token, bool) {
	if len(key) < fixedSize {
		return 0, false
	}
	at := prefixSize
	if Space(key[4]) == SpaceWindows {
		at += windowSize
		if len(key) < fixedSize+windowSize {
			return 0, false
		}
	}
	return token.FromOrdinal(binary.BigEndian.Uint64(key[at:])), true
}

// KeyWindow returns the window of a windowed row's key.
func KeyWindow(key []byte) (uint32, bool) {
	if len(key) < prefixSize+windowSize || Space(key[4]) != SpaceWindows {
		return 0, false
	}
	return binary.BigEndian.Uint32(key[prefixSize:]), true
}

// AppendCompositeKey appends a partition key of several columns in Cassandra's
// composite form: for each, a 16-bit length, the bytes, and a zero byte.
// Components are at most PartitionMax bytes each.
func AppendCompositeKey(dst []byte, components ...[]byte) []byte {
	for _, c := range components {
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(c)))
		dst = append(append(dst, c...), 0)
	}
	return dst
}

// DecodeCompositeKey is the inverse of AppendCompositeKey; the parts alias key.
func DecodeCompositeKey(key []byte) ([][]byte, error) {
	var parts [][]byte
	for len(key) > 0 {
		if len(key) < 2 {
			return nil, fmt.Errorf("record: composite key: %w", ErrCorrupt)
		}
		n := int(binary.BigEndian.Uint16(key))
		if len(key) < 2+n+1 || key[2+n] != 0 {
			return nil, fmt.Errorf("record: composite key: %w", ErrCorrupt)
		}
		parts = append(parts, key[2:2+n:2+n])
		key = key[2+n+1:]
	}
	return parts, nil
}
