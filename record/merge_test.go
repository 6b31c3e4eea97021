package record

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Few distinct values, so that ties are common.
func genRow(t *rapid.T, label string) Row {
	var r Row
	small := func(name string, n int) int64 { return rapid.Int64Range(0, int64(n)).Draw(t, label+name) }
	if small("live", 1) == 1 {
		r.Liveness = Liveness{Timestamp: 1 + small("lts", 4)}
		if small("lexp", 1) == 1 {
			r.Liveness.TTL, r.Liveness.Expiry = uint32(1+small("lttl", 2)), 100+small("lexpiry", 2)
		}
	}
	if small("deleted", 3) == 0 {
		r.Deletion = Deletion{Timestamp: 1 + small("dts", 4), Seconds: 100 + small("dsec", 2)}
	}
	for column := range uint16(3) {
		for _, path := range [][]byte{nil, []byte("a"), []byte("b")} {
			if small("has", 3) == 0 {
				r.Cells = append(r.Cells, genCell(t, label, column+1, path))
			}
		}
	}
	if rapid.Bool().Draw(t, label+"shadow") {
		r.shadow()
	}
	return r
}

func genCell(t *rapid.T, label string, column uint16, path []byte) Cell {
	small := func(name string, n int) int64 { return rapid.Int64Range(0, int64(n)).Draw(t, label+name) }
	c := Cell{Column: column, Path: path, Timestamp: 1 + small("ts", 4)}
	switch small("kind", 3) {
	case 0:
		c.Tombstone, c.Expiry = true, 100+small("at", 2)
		return c
	case 1:
		c.TTL, c.Expiry = uint32(1+small("ttl", 2)), 100+small("expiry", 2)
	}
	c.Value = rapid.SampledFrom([][]byte{{}, []byte("x"), []byte("y"), []byte("longer value")}).Draw(t, label+"value")
	if c.TTL > 0 && small("hashed", 3) == 0 {
		h := c.hash()
		c.Value, c.Hashed = h[:], true
	}
	return c
}

func genHead(t *rapid.T, label string) Head {
	var h Head
	small := func(name string, n int) int64 { return rapid.Int64Range(0, int64(n)).Draw(t, label+name) }
	if small("deleted", 3) == 0 {
		h.Deletion = Deletion{Timestamp: 1 + small("ts", 6), Seconds: 100 + small("sec", 1)}
	}
	for range small("ranges", 4) {
		r := RangeTombstone{
			Start:    []byte{byte(small("start", 9))},
			End:      []byte{byte(small("end", 9))},
			Deletion: Deletion{Timestamp: 1 + small("rts", 6), Seconds: 100 + small("rsec", 1)},
		}
		if small("open", 4) == 0 {
			r.End = nil
		}
		if small("begin", 4) == 0 {
			r.Start = []byte{}
		}
		h.Ranges = append(h.Ranges, r)
	}
	if small("static", 3) == 0 {
		h.Static = genRow(t, label+"static")
	}
	return h
}

func genOperand(t *rapid.T, space Space, label string) []byte {
	if rapid.IntRange(0, 19).Draw(t, label+"junk") == 0 {
		return rapid.SliceOfN(rapid.Byte(), 1, 6).Draw(t, label+"bytes")
	}
	if space == SpaceHeads {
		h := genHead(t, label)
		return h.Append(nil)
	}
	r := genRow(t, label)
	return r.Append(nil)
}

func mergeAll(space Space, operands ...[]byte) []byte {
	var m Merger
	m.Reset(space)
	for _, o := range operands {
		m.Add(o)
	}
	return m.Finish(nil)
}

// checkMergeLaws: commutative, associative, idempotent, on the encoded form that
// Pebble merges.
func checkMergeLaws(t rapid.TB, space Space, a, b, c []byte) {
	ab, ba := mergeAll(space, a, b), mergeAll(space, b, a)
	if !bytes.Equal(ab, ba) {
		t.Fatalf("not commutative:\n a %x\n b %x\nab %x\nba %x", a, b, ab, ba)
	}
	left, right, flat := mergeAll(space, ab, c), mergeAll(space, a, mergeAll(space, b, c)), mergeAll(space, a, b, c)
	if !bytes.Equal(left, right) || !bytes.Equal(left, flat) {
		t.Fatalf("not associative:\n a %x\n b %x\n c %x\n(ab)c %x\na(bc) %x\nabc %x", a, b, c, left, right, flat)
	}
	if again := mergeAll(space, ab, a, ab, b); !bytes.Equal(again, ab) {
		t.Fatalf("not idempotent:\n a %x\n b %x\nab %x\nagain %x", a, b, ab, again)
	}
}

// TestMergeLaws has operands that nobody can decode among the others.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]Space{SpaceHeads, SpaceRows, SpaceWindows}).Draw(t, "space")
		checkMergeLaws(t, space, genOperand(t, space, "a"), genOperand(t, space, "b"), genOperand(t, space, "c"))
	})
}

// TestMergeOfEncodingsIsEncodingOfMerge: what Pebble merges as bytes and what a
// coordinator merges as rows is the same, and a fragment merged with itself stays.
func TestMergeOfEncodingsIsEncodingOfMerge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, o := genRow(t, "r"), genRow(t, "o")
		r.shadow()
		rb, ob := r.Append(nil), o.Append(nil)
		o.shadow()
		MergeRow(&r, &o)
		if got, want := r.Append(nil), mergeAll(SpaceRows, rb, ob); !bytes.Equal(got, want) || !r.canonical() {
			t.Fatalf("rows:\n a %x\n b %x\nmerged decoded %x\nmerged encoded %x", rb, ob, got, want)
		}
		if got := mergeAll(SpaceRows, rb, rb); !bytes.Equal(got, rb) {
			t.Fatalf("row %x merged with itself is %x", rb, got)
		}
		h, g := genHead(t, "h"), genHead(t, "g")
		hb, gb := h.Append(nil), g.Append(nil)
		h.Static.shadow()
		MergeHead(&h, &g)
		if got, want := h.Append(nil), mergeAll(SpaceHeads, hb, gb); !bytes.Equal(got, want) {
			t.Fatalf("heads:\n a %x\n b %x\nmerged decoded %x\nmerged encoded %x", hb, gb, got, want)
		}
		if got := mergeAll(SpaceHeads, hb, hb); !bytes.Equal(got, hb) {
			t.Fatalf("head %x merged with itself is %x", hb, got)
		}
	})
}

// TestMergeKeepsTheMaximumOfEachPart: of every column the winner of both sides,
// unless the larger deletion hides it.
func TestMergeKeepsTheMaximumOfEachPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRow(t, "a"), genRow(t, "b")
		a.shadow()
		b.shadow()
		ab, bb := a.Append(nil), b.Append(nil)
		var merged Row
		if err := DecodeRow(mergeAll(SpaceRows, ab, bb), &merged); err != nil {
			t.Fatal(err)
		}
		want := a.Deletion
		if b.Deletion.Wins(want) {
			want = b.Deletion
		}
		if merged.Deletion != want {
			t.Fatalf("deletion %+v, want %+v", merged.Deletion, want)
		}
		for column := range uint16(4) {
			var best *Cell
			for _, r := range []*Row{&a, &b} {
				if c := r.Cell(column); c != nil && !want.Hides(c.Timestamp) && (best == nil || c.wins(best)) {
					best = c
				}
			}
			got := merged.Cell(column)
			if (got == nil) != (best == nil) || got != nil && got.rank() != best.rank() {
				t.Fatalf("column %d: %+v, want %+v", column, got, best)
			}
			if got != nil && (got.Timestamp != best.Timestamp || !bytes.Equal(got.Value, best.Value)) {
				t.Fatalf("column %d: %+v, want %+v", column, got, best)
			}
		}
	})
}

// TestOnlyTheCanonicalFormIsDecoded: rows that mean the same have the same
// bytes, or the merge of equal replicas would not be equal.
func TestOnlyTheCanonicalFormIsDecoded(t *testing.T) {
	for name, b := range map[string][]byte{
		"cells out of order":            {rowVersion, 0, 2, 2, 2, 0, 0, 1, 0, 0},
		"a cell twice":                  {rowVersion, 0, 2, 2, 1, 0, 0, 1, 0, 0},
		"a cell that the row deletes":   {rowVersion, rowDeleted, 2, 0, 2, 1, 1, 0, 0},
		"a liveness that it deletes":    {rowVersion, rowDeleted | rowLive, 2, 0, 2, 0},
		"a long number":                 {rowVersion, 0, 0x82, 0, 1, 1, 0, 0},
		"a delta of zero":               {rowVersion, 0, 2, 1, 1, cellOwnTime, 0, 0},
		"a base that no part has":       {rowVersion, 0, 2, 1, 1, cellOwnTime, 2, 0},
		"a TTL of zero":                 {rowVersion, 0, 2, 1, 1, cellExpiring, 0, 2, 0},
		"a hash of a plain cell":        {rowVersion, 0, 2, 1, 1, cellHashed, 8, 1, 2, 3, 4, 5, 6, 7, 8},
		"an expiring tombstone":         {rowVersion, 0, 2, 1, 1, cellTombstone | cellExpiring, 2},
		"an empty path":                 {rowVersion, 0, 2, 1, 1, cellPath, 0, 0},
		"an expiry without a liveness":  {rowVersion, rowExpiring, 2, 1, 2, 0},
		"an unknown flag":               {rowVersion, 0x80, 2, 0},
		"an unknown flag of a cell":     {rowVersion, 0, 2, 1, 1, 0x80, 0},
		"an unknown version":            {rowVersion + 1, 0, 2, 0},
		"bytes after the end":           {rowVersion, 0, 0, 0, 0},
		"more cells than bytes":         {rowVersion, 0, 2, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"a value longer than the bytes": {rowVersion, 0, 2, 1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"nothing":                       {},
	} {
		var r Row
		if err := DecodeRow(b, &r); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, decoded %+v", name, err, r)
		}
	}
	for name, b := range map[string][]byte{
		"ranges out of order":     {headVersion, 0, 2, 1, 'b', 2, 'c', 2, 2, 1, 'a', 2, 'b', 4, 2},
		"ranges that overlap":     {headVersion, 0, 2, 1, 'a', 2, 'c', 2, 2, 1, 'b', 2, 'd', 4, 2},
		"equal neighbours":        {headVersion, 0, 2, 1, 'a', 2, 'b', 2, 2, 1, 'b', 2, 'c', 2, 2},
		"an empty range":          {headVersion, 0, 1, 1, 'a', 2, 'a', 2, 2},
		"a range that is covered": {headVersion, headDeleted, 4, 2, 1, 1, 'a', 2, 'b', 2, 2},
		"a deletion of nothing":   {headVersion, headDeleted, 0, 0, 0},
		"an empty static row":     {headVersion, headStatic, 0, 4, rowVersion, 0, 0, 0},
		"more ranges than bytes":  {headVersion, 0, 0xff, 0xff, 0x03},
	} {
		var h Head
		if err := DecodeHead(b, &h); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, decoded %+v", name, err, h)
		}
	}
}

// TestMergingAllocatesNothing: the merger runs for every row that is flushed
// or compacted.
func TestMergingAllocatesNothing(t *testing.T) {
	x, y := eventRow(1_760_000_000_000_000), eventRow(1_760_000_000_000_001)
	bx, by := x.Append(nil), y.Append(nil)
	var m Merger
	var dst []byte
	var row Row
	var d Digester
	s := Shape{Table: 1, Window: time.Hour, Clustering: []Component{{Kind: TimeUUID}}}
	suffix, err := s.AppendSuffix(nil, unhex(t, "2a92d750d8dc11e6a2decf8ecd4cf053"))
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]func(){
		"one operand":  func() { m.Reset(SpaceRows); m.Add(bx); dst = m.Finish(dst[:0]) },
		"two operands": func() { m.Reset(SpaceRows); m.Add(bx); m.Add(by); dst = m.Finish(dst[:0]) },
		"encoding":     func() { dst = x.Append(dst[:0]) },
		"a row's key":  func() { dst, _ = s.AppendRowKey(dst[:0], 5, bx[:20], suffix) },
		"decoding":     func() { _ = DecodeRow(bx, &row) },
		"digest":       func() { d.Reset(); _ = d.AddHead(nil); _ = d.AddRow(bx[:16], bx); d.Sum() },
	} {
		if n := testing.AllocsPerRun(100, f); n > 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func TestSingleOperandPassesUntouched(t *testing.T) {
	junk := []byte{42, 1, 2, 3}
	if got := mergeAll(SpaceRows, junk); !bytes.Equal(got, junk) {
		t.Errorf("got %x", got)
	}
}

func TestPoisonKeepsEveryOperand(t *testing.T) {
	row := Row{Liveness: Liveness{Timestamp: 5}}
	good, future := row.Append(nil), []byte{2, 0, 7}
	poison := mergeAll(SpaceRows, good, future)
	if !IsPoison(poison) || !bytes.Contains(poison, good) || !bytes.Contains(poison, future) {
		t.Fatalf("poison %x", poison)
	}
	var r Row
	if err := DecodeRow(poison, &r); !errors.Is(err, ErrPoison) {
		t.Errorf("decoding poison as a row: %v", err)
	}
	var h Head
	if err := DecodeHead(poison, &h); !errors.Is(err, ErrPoison) {
		t.Errorf("decoding poison as a head: %v", err)
	}
	if more := mergeAll(SpaceRows, poison, good); !bytes.Equal(more, poison) {
		t.Errorf("poison grew by what it holds: %x", more)
	}
}

func TestRowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRow(t, "r")
		b := r.Append(nil)
		r.shadow()
		var got Row
		if err := DecodeRow(b, &got); err != nil {
			t.Fatalf("decode %x: %v", b, err)
		}
		if again := got.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x came back as %x", b, again)
		}
		if got.Liveness != r.Liveness || got.Deletion != r.Deletion || len(got.Cells) != len(r.Cells) {
			t.Fatalf("%+v came back as %+v", r, got)
		}
	})
}

// TestAppendSortsAndMergesCells: a fragment written as a list of assignments, in
// any order and with repeats, is the merge of its assignments.
func TestAppendSortsAndMergesCells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, o := genRow(t, "r"), genRow(t, "o")
		jumbled := Row{Liveness: r.Liveness, Deletion: r.Deletion, Cells: rapid.Permutation(append(slices.Clone(r.Cells), o.Cells...)).Draw(t, "cells")}
		before := slices.Clone(jumbled.Cells)
		want := [][]byte{(&Row{Liveness: r.Liveness, Deletion: r.Deletion}).Append(nil)}
		for _, c := range jumbled.Cells {
			want = append(want, (&Row{Cells: []Cell{c}}).Append(nil))
		}
		if got := jumbled.Append(nil); !bytes.Equal(got, mergeAll(SpaceRows, append(want, want[0])...)) {
			t.Fatalf("%+v is encoded as %x", jumbled, got)
		}
		if !reflect.DeepEqual(jumbled.Cells, before) {
			t.Fatal("encoding changed the row")
		}
	})
}

// TestHeadMeansWhatItsRangesSay: the canonical form shadows every position as
// the ranges that went in did.
func TestHeadMeansWhatItsRangesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := genHead(t, "h")
		var got Head
		if err := DecodeHead(h.Append(nil), &got); err != nil {
			t.Fatal(err)
		}
		if !canonical(got.Ranges, got.Deletion) {
			t.Fatalf("not canonical: %+v", got)
		}
		for at := range byte(11) {
			for _, suffix := range [][]byte{{}, {at}, {at, 0}, {at, 9}} {
				want := int64(NoShadow)
				if !h.Deletion.IsZero() {
					want = h.Deletion.Timestamp
				}
				for _, r := range h.Ranges {
					inside := bytes.Compare(r.Start, suffix) <= 0 && (r.End == nil || bytes.Compare(suffix, r.End) < 0)
					if inside {
						want = max(want, r.Deletion.Timestamp)
					}
				}
				if shadow := got.ShadowAt(suffix); shadow != want {
					t.Fatalf("at %x: shadow %d, want %d\nin  %+v\nout %+v", suffix, shadow, want, h, got)
				}
			}
		}
	})
}

func TestMergeOrder(t *testing.T) {
	plain := Cell{Timestamp: 5, Value: []byte("b")}
	for _, tc := range []struct {
		name          string
		winner, loser Cell
	}{
		{"larger timestamp", Cell{Timestamp: 6, Value: []byte("a")}, Cell{Timestamp: 5, Tombstone: true, Expiry: 9}},
		{"tombstone over expiring", Cell{Timestamp: 5, Tombstone: true, Expiry: 1}, Cell{Timestamp: 5, TTL: 1, Expiry: 99}},
		{"expiring over plain", Cell{Timestamp: 5, TTL: 1, Expiry: 1}, plain},
		{"later deletion time", Cell{Timestamp: 5, Tombstone: true, Expiry: 2}, Cell{Timestamp: 5, Tombstone: true, Expiry: 1}},
		{"later expiry", Cell{Timestamp: 5, TTL: 9, Expiry: 2}, Cell{Timestamp: 5, TTL: 1, Expiry: 1}},
		{"smaller TTL", Cell{Timestamp: 5, TTL: 1, Expiry: 2}, Cell{Timestamp: 5, TTL: 9, Expiry: 2}},
		{"larger value", plain, Cell{Timestamp: 5, Value: []byte("a")}},
	} {
		if !tc.winner.wins(&tc.loser) || tc.loser.wins(&tc.winner) {
			t.Errorf("%s: wrong winner", tc.name)
		}
	}
}

func TestVisible(t *testing.T) {
	const now = 1000
	value := Cell{Column: 1, Timestamp: 10, Value: []byte("v")}
	expiring := Cell{Column: 1, Timestamp: 10, TTL: 60, Expiry: now, Value: []byte("v")}
	later := expiring
	later.Expiry++
	for _, tc := range []struct {
		name   string
		row    Row
		shadow int64
		want   bool
	}{
		{"a value", Row{Cells: []Cell{value}}, NoShadow, true},
		{"only a liveness", Row{Liveness: Liveness{Timestamp: 10}}, 9, true},
		{"shadowed by the head", Row{Cells: []Cell{value}}, 10, false},
		{"newer than the head's deletion", Row{Cells: []Cell{value}}, 9, true},
		{"deleted", Row{Cells: []Cell{value}, Deletion: Deletion{Timestamp: 10, Seconds: 1}}, NoShadow, false},
		{"written after its deletion", Row{Cells: []Cell{value}, Deletion: Deletion{Timestamp: 9, Seconds: 1}}, NoShadow, true},
		{"expired", Row{Cells: []Cell{expiring}}, NoShadow, false},
		{"not yet expired", Row{Cells: []Cell{later}}, NoShadow, true},
		{"a tombstone", Row{Cells: []Cell{{Column: 1, Timestamp: 10, Tombstone: true, Expiry: 1}}}, NoShadow, false},
		{"expired liveness", Row{Liveness: Liveness{Timestamp: 10, TTL: 1, Expiry: now}}, NoShadow, false},
		{"inside a deleted collection", Row{Cells: []Cell{
			{Column: 1, Timestamp: 10, Tombstone: true, Expiry: 1}, {Column: 1, Path: []byte("k"), Timestamp: 10, Value: []byte("v")},
		}}, NoShadow, false},
		{"added to a deleted collection", Row{Cells: []Cell{
			{Column: 1, Timestamp: 9, Tombstone: true, Expiry: 1}, {Column: 1, Path: []byte("k"), Timestamp: 10, Value: []byte("v")},
		}}, NoShadow, true},
	} {
		if got := tc.row.LiveAt(tc.shadow, now); got != tc.want {
			t.Errorf("%s: LiveAt = %v", tc.name, got)
		}
		if got := tc.row.Visible(tc.shadow, now); got != tc.want {
			t.Errorf("%s: Visible = %v", tc.name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	row := Row{Liveness: Liveness{Timestamp: 1e15, TTL: 5, Expiry: 9}, Cells: []Cell{{Column: 3, Timestamp: 1e15 + 1, Value: []byte("v")}}}
	head := Head{Deletion: Deletion{Timestamp: 5, Seconds: 6}, Ranges: []RangeTombstone{{Start: []byte("a"), Deletion: Deletion{Timestamp: 9, Seconds: 1}}}}
	f.Add(row.Append(nil))
	f.Add(head.Append(nil))
	f.Add(mergeAll(SpaceRows, row.Append(nil), []byte{9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Row
		if DecodeRow(b, &r) == nil {
			if again := r.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("row %x decodes but is not canonical: %x", b, again)
			}
			now, shadow := r.Liveness.Expiry, r.Liveness.Timestamp-1
			if live := r.LiveAt(shadow, now); live != r.Visible(shadow, now) {
				t.Errorf("row %x: LiveAt says %v, Visible does not", b, live)
			}
		}
		var h Head
		if DecodeHead(b, &h) == nil {
			if again := h.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("head %x decodes but is not canonical: %x", b, again)
			}
		}
	})
}

// FuzzMergeLaws: the laws hold for whatever bytes are merged, poison included.
func FuzzMergeLaws(f *testing.F) {
	old := Row{Liveness: Liveness{Timestamp: 1}, Cells: []Cell{{Column: 3, Timestamp: 1, Value: []byte("v")}, {Column: 4, Path: []byte("k"), Timestamp: 1}}}
	young := Row{Deletion: Deletion{Timestamp: 1, Seconds: 1}, Cells: []Cell{{Column: 4, Timestamp: 2, Tombstone: true, Expiry: 3}}}
	head := Head{Ranges: []RangeTombstone{{Start: []byte("a"), Deletion: Deletion{Timestamp: 9, Seconds: 1}}}, Static: old}
	poison := mergeAll(SpaceRows, []byte{9}, []byte{8})
	f.Add(byte(SpaceRows), old.Append(nil), young.Append(nil), poison)
	f.Add(byte(SpaceRows), poison, append([]byte{poisonVersion, 1, byte(len(poison))}, poison...), young.Append(nil))
	f.Add(byte(SpaceHeads), head.Append(nil), []byte{headVersion, headDeleted, 2, 2, 0}, []byte{})
	f.Fuzz(func(t *testing.T, space byte, a, b, c []byte) {
		checkMergeLaws(t, Space(space%3), a, b, c)
	})
}
