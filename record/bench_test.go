package record

import (
	"bytes"
	"testing"
	"time"
)

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

func BenchmarkMergeOneOperand(b *testing.B) {
	r := eventRow(1_760_000_000_000_000)
	enc := r.Append(nil)
	var m Merger
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		m.Reset(SpaceRows)
		m.Add(enc)
		dst = m.Finish(dst[:0])
	}
}

// BenchmarkMergeManyColumns merges two fragments of 16 columns each that
// interleave.
func BenchmarkMergeManyColumns(b *testing.B) {
	var fragments [2][]byte
	for i := range fragments {
		var r Row
		for c := range uint16(16) {
			r.Cells = append(r.Cells, Cell{Column: 2*c + uint16(i), Timestamp: 1_760_000_000_000_000, Value: []byte("some value")})
		}
		fragments[i] = r.Append(nil)
	}
	var m Merger
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		m.Reset(SpaceRows)
		m.Add(fragments[0])
		m.Add(fragments[1])
		dst = m.Finish(dst[:0])
	}
}

// BenchmarkMergeRangeTombstones merges 1,000 deletions of one range each: the
// most that a partition should have.
func BenchmarkMergeRangeTombstones(b *testing.B) {
	var fragments [][]byte
	for i := range 1000 {
		at := byte(i * 7)
		h := Head{Ranges: []RangeTombstone{{
			Start: []byte{at, byte(i)}, End: []byte{at, byte(i), 0x80}, Deletion: Deletion{Timestamp: int64(i + 1), Seconds: 1},
		}}}
		fragments = append(fragments, h.Append(nil))
	}
	var m Merger
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		m.Reset(SpaceHeads)
		for _, f := range fragments {
			m.Add(f)
		}
		dst = m.Finish(dst[:0])
	}
}

func BenchmarkAppendRowKey(b *testing.B) {
	s := Shape{Table: 1, Window: 7 * 24 * time.Hour, Clustering: []Component{{Kind: TimeUUID}}}
	id := unhex(b, "2a92d750d8dc11e6a2decf8ecd4cf053")
	stream := []byte("logs/web-server-17/access")
	var suffix, key []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if suffix, err = s.AppendSuffix(suffix[:0], id); err != nil {
			b.Fatal(err)
		}
		if key, err = s.AppendRowKey(key[:0], 5, stream, suffix); err != nil {
			b.Fatal(err)
		}
	}
}
