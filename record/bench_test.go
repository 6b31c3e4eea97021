package record

import (
	"bytes"
	"testing"
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
