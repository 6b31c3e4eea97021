package form

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// FuzzHint: decoding never panics, and what it accepts has one encoding.
func FuzzHint(f *testing.F) {
	f.Add(AppendHint(nil, &Hint{Created: 5, Born: 7, Version: 300, Count: 2, Entries: []byte("entries")}))
	f.Add([]byte{hintVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := DecodeHint(b)
		if err != nil {
			return
		}
		if again := AppendHint(nil, &h); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
		if len(b) > len(h.Entries)+HintOverhead {
			t.Errorf("the encoding takes %d bytes for %d", len(b), len(h.Entries))
		}
	})
}

// FuzzMarks: the same for marks.
func FuzzMarks(f *testing.F) {
	m := Marks{}
	m.AddKey(rowKey(3, 1<<63))
	f.Add(m.Append(nil))
	f.Add((&Marks{Everything: true}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := Decoder{B: b}
		var m Marks
		if m.Take(&d); d.Bad {
			return
		}
		if again := m.Append(nil); !bytes.Equal(again, b[:len(b)-len(d.B)]) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// TestHint: round trip, and what must be refused.
func TestHint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hint{
			Created: rapid.Int64().Draw(t, "created"), Born: hlc.Timestamp(rapid.Int64().Draw(t, "born")),
			Version: rapid.Uint64().Draw(t, "version"), Entries: rapid.SliceOfN(rapid.Byte(), 2, 100).Draw(t, "entries"),
		}
		h.Count = rapid.IntRange(1, len(h.Entries)/2).Draw(t, "count")
		b := AppendHint([]byte("x"), &h)[1:]
		got, err := DecodeHint(b)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(h) {
			t.Fatalf("%+v became %+v, %v", h, got, err)
		}
		b[0]++
		if _, err := DecodeHint(b); err == nil {
			t.Fatal("an unknown version was accepted")
		}
	})
	for _, count := range []int{0, 4} {
		if _, err := DecodeHint(AppendHint(nil, &Hint{Count: count, Entries: []byte("1234567")})); err == nil {
			t.Errorf("%d entries in 7 bytes were accepted", count)
		}
	}
}

// rowKey is the key of a row of a table, at a place on the ring.
func rowKey(table uint32, ordinal uint64) []byte {
	b := record.AppendSpacePrefix(nil, table, record.SpaceRows)
	return append(binary.BigEndian.AppendUint64(b, ordinal), 0, 1, 'p')
}

// TestMarks: a merge has the ranges and tables of both sides and nothing else, also
// after an encoding; too many tables are all tables.
func TestMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sides [2]Marks
		var ranges []token.RangeID
		var tables []uint32
		for i := range sides {
			for range rapid.IntRange(0, 50).Draw(t, "rows") {
				ordinal, table := rapid.Uint64().Draw(t, "token"), rapid.Uint32Range(1, 90).Draw(t, "table")
				sides[i].Add(record.AppendEntry(nil, rowKey(table, ordinal), []byte("v")))
				ranges = append(ranges, token.FromOrdinal(ordinal).Range())
				tables = append(tables, table)
			}
		}
		slices.Sort(ranges)
		slices.Sort(tables)
		ranges, tables = slices.Compact(ranges), slices.Compact(tables)
		if len(tables) > tablesMax {
			tables = nil
		}
		d := Decoder{B: sides[1].Append(nil)}
		var decoded Marks
		if decoded.Take(&d); d.Bad || len(d.B) > 0 {
			t.Fatal("an encoding is refused")
		}
		sides[0].Merge(&decoded)
		gotRanges, gotTables := sides[0].List()
		if !slices.Equal(gotRanges, ranges) || !slices.Equal(gotTables, tables) {
			t.Fatalf("%v of %v, not %v of %v", gotRanges, gotTables, ranges, tables)
		}
	})
}

// TestUnreadable entries mark everything.
func TestUnreadable(t *testing.T) {
	for _, entries := range [][]byte{{200}, record.AppendEntry(nil, []byte("short"), nil)} {
		m := Marks{}
		m.AddKey(rowKey(1, 1))
		m.Add(entries)
		if ranges, tables := m.List(); ranges != nil || tables != nil {
			t.Errorf("%v of %v", ranges, tables)
		}
	}
}
