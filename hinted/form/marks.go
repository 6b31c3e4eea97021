package form

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// tablesMax bounds the tables that marks tell apart.
const tablesMax = 64

// Marks are the ranges and tables of some hints. The zero value has none.
type Marks struct {
	Everything bool // ranges and tables are not known: all
	ranges     [token.Ranges / 64]uint64
	tables     []uint32 // sorted
	allTables  bool     // more than tablesMax
}

// Add marks the rows of a group. Entries that cannot be read mark everything.
func (m *Marks) Add(entries []byte) {
	for rest := entries; len(rest) > 0; {
		key, _, next, err := record.NextEntry(rest)
		if err != nil {
			m.Everything = true
			return
		}
		m.AddKey(key)
		rest = next
	}
}

// AddKey marks one row.
func (m *Marks) AddKey(key []byte) {
	table, _ := record.KeyTable(key)
	t, ok := record.KeyToken(key)
	if !ok {
		m.Everything = true
		return
	}
	r := t.Range()
	m.ranges[r/64] |= 1 << (r % 64)
	m.addTable(table)
}

func (m *Marks) addTable(table uint32) {
	at, found := slices.BinarySearch(m.tables, table)
	switch {
	case found || m.allTables:
	case len(m.tables) == tablesMax:
		m.tables, m.allTables = nil, true
	default:
		m.tables = slices.Insert(m.tables, at, table)
	}
}

// Merge adds the marks of o.
func (m *Marks) Merge(o *Marks) {
	m.Everything = m.Everything || o.Everything
	for i := range m.ranges {
		m.ranges[i] |= o.ranges[i]
	}
	if o.allTables {
		m.tables, m.allTables = nil, true
	}
	for _, t := range o.tables {
		m.addTable(t)
	}
}

// List returns the ranges and tables in order; nil means all of them.
func (m *Marks) List() (ranges []token.RangeID, tables []uint32) {
	if m.Everything {
		return nil, nil
	}
	for i, word := range m.ranges {
		for ; word != 0; word &= word - 1 {
			ranges = append(ranges, token.RangeID(i*64+bits.TrailingZeros64(word)))
		}
	}
	return ranges, m.tables
}

// The flags of encoded marks.
const (
	flagEverything = 1 << 0
	flagAllTables  = 1 << 1
)

// Append appends flags u8 | ranges | number of tables uvarint | tables u32.
func (m *Marks) Append(dst []byte) []byte {
	var flags byte
	if m.Everything {
		flags |= flagEverything
	}
	if m.allTables {
		flags |= flagAllTables
	}
	dst = append(dst, flags)
	for _, word := range m.ranges {
		dst = binary.BigEndian.AppendUint64(dst, word)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.tables)))
	for _, t := range m.tables {
		dst = binary.BigEndian.AppendUint32(dst, t)
	}
	return dst
}

// Take reads encoded marks.
func (m *Marks) Take(d *Decoder) {
	flags := d.U8()
	d.Bad = d.Bad || flags&^(flagEverything|flagAllTables) != 0
	m.Everything, m.allTables = flags&flagEverything != 0, flags&flagAllTables != 0
	for i := range m.ranges {
		m.ranges[i] = d.U64()
	}
	n := d.Uvarint()
	if n > tablesMax || (n > 0 && m.allTables) {
		d.Bad = true
		return
	}
	for range n {
		b := d.Take(4)
		if d.Bad {
			return
		}
		t := binary.BigEndian.Uint32(b)
		if len(m.tables) > 0 && m.tables[len(m.tables)-1] >= t {
			d.Bad = true
			return
		}
		m.tables = append(m.tables, t)
	}
}
