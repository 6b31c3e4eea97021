package record

import (
	"bytes"
	"errors"
	"slices"
	"testing"

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
	r.shadow()
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

// TestMergeLaws: commutative, associative, idempotent, on the encoded form that
// Pebble merges, operands that nobody can decode included.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := rapid.SampledFrom([]Space{SpaceHeads, SpaceRows, SpaceWindows}).Draw(t, "space")
		a, b, c := genOperand(t, space, "a"), genOperand(t, space, "b"), genOperand(t, space, "c")
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
	})
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

// TestPurgedValueStillCompares: a replica that has shrunk an expired value to
// its hash merges and digests as one that has not.
func TestPurgedValueStillCompares(t *testing.T) {
	full := Cell{Column: 1, Timestamp: 5, TTL: 1, Expiry: 2, Value: []byte("some value")}
	shrunk := full
	h := full.hash()
	shrunk.Value, shrunk.Hashed = h[:], true
	rows := []Row{{Cells: []Cell{full}}, {Cells: []Cell{shrunk}}}
	var digests []Digest
	for _, r := range rows {
		var d Digester
		d.Reset()
		if err := d.AddRow([]byte("k"), r.Append(nil)); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d.Sum())
	}
	if digests[0] != digests[1] {
		t.Error("digests differ")
	}
	other := Cell{Column: 1, Timestamp: 5, TTL: 1, Expiry: 2, Value: []byte("other value")}
	if full.wins(&other) != shrunk.wins(&other) {
		t.Error("the shrunk value compares differently from the full one")
	}
}

func TestDigestTellsContentApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRow(t, "a"), genRow(t, "b")
		var d Digester
		sum := func(r Row) Digest {
			d.Reset()
			if err := d.AddRow([]byte("k"), r.Append(nil)); err != nil {
				t.Fatal(err)
			}
			return d.Sum()
		}
		da, db := sum(a), sum(b)
		for _, r := range []*Row{&a, &b} {
			d.shrink(r)
			r.Cells = slices.Clone(r.Cells)
		}
		same := bytes.Equal(a.Append(nil), b.Append(nil))
		if same != (da == db) {
			t.Fatalf("same content %v, same digest %v", same, da == db)
		}
	})
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
		}
		var h Head
		if DecodeHead(b, &h) == nil {
			if again := h.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("head %x decodes but is not canonical: %x", b, again)
			}
		}
		mergeAll(SpaceRows, b, b[:len(b)/2])
		mergeAll(SpaceHeads, b, b[:len(b)/2])
	})
}

// eventRow is a row as the event store writes it: two cells, 200 bytes of data.
func eventRow(ts int64) Row {
	return Row{Liveness: Liveness{Timestamp: ts}, Cells: []Cell{
		{Column: 3, Timestamp: ts, Value: []byte("INFO")},
		{Column: 4, Timestamp: ts, Value: bytes.Repeat([]byte("d"), 196)},
	}}
}

func TestOverhead(t *testing.T) {
	r := eventRow(1_760_000_000_000_000)
	if n := len(r.Append(nil)); n > 224 {
		t.Errorf("200 bytes of values take %d, more than 12 %% over", n)
	}
}

func BenchmarkMergeTwoRows(b *testing.B) {
	x, y := eventRow(1_760_000_000_000_000), eventRow(1_760_000_000_000_001)
	bx, by := x.Append(nil), y.Append(nil)
	var m Merger
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		m.Reset(SpaceRows)
		m.Add(bx)
		m.Add(by)
		dst = m.Finish(dst[:0])
	}
}

func BenchmarkEncodeRow(b *testing.B) {
	r := eventRow(1_760_000_000_000_000)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = r.Append(dst[:0])
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	r := eventRow(1_760_000_000_000_000)
	enc := r.Append(nil)
	var got Row
	b.ReportAllocs()
	for b.Loop() {
		if err := DecodeRow(enc, &got); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDigestRow(b *testing.B) {
	r := eventRow(1_760_000_000_000_000)
	enc := r.Append(nil)
	var d Digester
	b.ReportAllocs()
	for b.Loop() {
		d.Reset()
		if err := d.AddRow(enc[:16], enc); err != nil {
			b.Fatal(err)
		}
	}
}
