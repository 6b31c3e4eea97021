package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/token"
)

// model is what storage should hold: fragments merged in memory, and found by
// looking at all of them.
type model struct {
	shape record.Shape
	rows  map[string][]byte // storage key → merged fragment
}

func (m *model) write(key, value []byte) {
	var merger record.Merger
	space, _ := record.KeySpace(key)
	merger.Reset(space)
	if old, ok := m.rows[string(key)]; ok {
		merger.Add(old)
	}
	merger.Add(value)
	m.rows[string(key)] = merger.Finish(nil)
}

// found is one row that a read should return.
type found struct {
	token     token.Token
	partition []byte
	suffix    []byte
	fragment  []byte
	live      bool
}

// all lists the rows in token order, at or above the floor.
func (m *model) all(t *rapid.T, now int64, floor uint32) []found {
	var rows []found
	for key, fragment := range m.rows {
		k, err := record.ParseKey([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		if k.Space == record.SpaceHeads || (k.Space == record.SpaceWindows && k.Window < floor) {
			continue
		}
		var head record.Head
		if b, ok := m.rows[string(m.shape.AppendHeadKey(nil, k.Token, k.Partition))]; ok {
			if err := record.DecodeHead(b, &head); err != nil {
				t.Fatal(err)
			}
		}
		var row record.Row
		if err := record.DecodeRow(fragment, &row); err != nil {
			t.Fatal(err)
		}
		live := row.Visible(head.ShadowAt(k.Suffix), now)
		rows = append(rows, found{k.Token, k.Partition, k.Suffix, fragment, live})
	}
	slices.SortFunc(rows, func(a, b found) int {
		return bytes.Compare(
			append(record.AppendPartition(nil, a.token, a.partition), a.suffix...),
			append(record.AppendPartition(nil, b.token, b.partition), b.suffix...))
	})
	return rows
}

const modelEpoch = 1_700_000_000 // Unix seconds

func genShape(t *rapid.T) record.Shape {
	s := record.Shape{Table: 9, Clustering: []record.Component{{Kind: record.Timestamp, Desc: rapid.Bool().Draw(t, "desc")}}}
	if rapid.Bool().Draw(t, "windowed") {
		s.Window = time.Hour
	}
	return s
}

func genSuffix(t *rapid.T, s *record.Shape, label string) []byte {
	ms := (modelEpoch + rapid.Int64Range(0, 5).Draw(t, label)*1800) * 1000
	suffix, err := s.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(ms)))
	if err != nil {
		t.Fatal(err)
	}
	return suffix
}

func genPartition(t *rapid.T, label string) []byte {
	return fmt.Appendf(nil, "p%d", rapid.IntRange(0, 3).Draw(t, label))
}

// genWrite is a row's fragment or a partition's deletion, with few timestamps.
func genWrite(t *rapid.T, s *record.Shape) (key, value []byte) {
	pk := genPartition(t, "pk")
	ts := rapid.Int64Range(1, 6).Draw(t, "ts")
	if rapid.IntRange(0, 4).Draw(t, "kind") == 0 {
		h := record.Head{Ranges: []record.RangeTombstone{{
			Start: genSuffix(t, s, "from"), End: genSuffix(t, s, "to"), Deletion: record.Deletion{Timestamp: ts, Seconds: modelEpoch},
		}}}
		if rapid.IntRange(0, 3).Draw(t, "whole") == 0 {
			h = record.Head{Deletion: record.Deletion{Timestamp: ts, Seconds: modelEpoch}}
		}
		return s.AppendHeadKey(nil, token.Of(pk), pk), h.Append(nil)
	}
	row := record.Row{Cells: []record.Cell{{Column: 1, Timestamp: ts, Value: fmt.Appendf(nil, "v%d", rapid.IntRange(0, 9).Draw(t, "value"))}}}
	switch rapid.IntRange(0, 5).Draw(t, "row") {
	case 0:
		row = record.Row{Deletion: record.Deletion{Timestamp: ts, Seconds: modelEpoch}}
	case 1:
		row.Cells[0].TTL, row.Cells[0].Expiry = 60, modelEpoch+rapid.Int64Range(0, 2).Draw(t, "expiry")
	}
	key, err := s.AppendRowKey(nil, token.Of(pk), pk, genSuffix(t, s, "suffix"))
	if err != nil {
		t.Fatal(err)
	}
	return key, row.Append(nil)
}

// TestReadsAgainstAModel: slices in both directions and scans with cursors, with
// and without windows, give what a search through all rows gives.
func TestReadsAgainstAModel(t *testing.T) {
	engine := openTest(t)
	table := uint32(100)
	rapid.Check(t, func(t *rapid.T) {
		shape := genShape(t)
		table++
		shape.Table = table
		m := &model{shape: shape, rows: map[string][]byte{}}
		for range rapid.IntRange(0, 40).Draw(t, "writes") {
			key, value := genWrite(t, &shape)
			tok, _ := record.KeyToken(key)
			w := newWrite(key, value)
			if err := engine.Submit(engine.CommitterOf(tok.Range()), w); err != nil {
				t.Fatal(err)
			}
			if err := <-w.done; err != nil {
				t.Fatal(err)
			}
			m.write(key, value)
			if rapid.IntRange(0, 15).Draw(t, "flush") == 0 {
				if err := engine.rows.Flush(); err != nil {
					t.Fatal(err)
				}
			}
		}
		now, floor := int64(modelEpoch+1), uint32(0)
		if shape.Window > 0 && rapid.Bool().Draw(t, "floored") {
			floor, _ = shape.WindowAt(time.Unix(modelEpoch+3600, 0))
		}
		rows := m.all(t, now, floor)
		checkSlice(t, engine, &shape, rows, now, floor)
		checkScan(t, engine, &shape, rows, now, floor)
	})
}

func checkSlice(t *rapid.T, e *Engine, shape *record.Shape, rows []found, now int64, floor uint32) {
	q := SliceRequest{
		Shape: shape, Partition: genPartition(t, "slice"), Reverse: rapid.Bool().Draw(t, "reverse"),
		MaxRows: rapid.IntRange(1, 5).Draw(t, "max"), MaxBytes: rapid.SampledFrom([]int{1, 60, 1 << 20}).Draw(t, "bytes"), Now: now, Floor: floor,
	}
	q.Token = token.Of(q.Partition)
	if rapid.Bool().Draw(t, "start?") {
		q.Start = genSuffix(t, shape, "start")
	}
	if rapid.Bool().Draw(t, "end?") {
		q.End = genSuffix(t, shape, "end")
	}
	if q.Start != nil && q.End != nil && bytes.Compare(q.Start, q.End) > 0 {
		q.Start, q.End = q.End, q.Start
	}
	var want []found
	for _, r := range rows {
		if bytes.Equal(r.partition, q.Partition) && bytes.Compare(q.Start, r.suffix) <= 0 && (q.End == nil || bytes.Compare(r.suffix, q.End) < 0) {
			want = append(want, r)
		}
	}
	if q.Reverse {
		slices.Reverse(want)
	}
	var got Slice
	if err := e.Slice(&q, &got); err != nil {
		t.Fatal(err)
	}
	live, count := 0, 0
	for rest := got.Rows; len(rest) > 0; count++ {
		suffix, fragment, tail, err := record.NextEntry(rest)
		if err != nil || count >= len(want) {
			t.Fatalf("row %d of %d wanted: %v", count, len(want), err)
		}
		if w := want[count]; !bytes.Equal(suffix, w.suffix) || !bytes.Equal(fragment, w.fragment) {
			t.Fatalf("row %d is %x %x, want %x %x", count, suffix, fragment, w.suffix, w.fragment)
		}
		if want[count].live {
			live++
		}
		rest = tail
	}
	if got.Count != count || got.Live != live || got.Live > q.MaxRows {
		t.Fatalf("counted %d rows, %d live; found %d, %d", got.Count, got.Live, count, live)
	}
	if got.More != (count < len(want)) || (got.More && live < q.MaxRows && len(got.Rows) < q.MaxBytes) {
		t.Fatalf("More is %v after %d of %d rows, %d of %d live", got.More, count, len(want), live, q.MaxRows)
	}
}

func checkScan(t *rapid.T, e *Engine, shape *record.Shape, rows []found, now int64, floor uint32) {
	var partitions, keys []string
	from, to := token.Min, token.Max
	if rapid.Bool().Draw(t, "part of the ring") {
		from, to = token.Of(genPartition(t, "from token")), token.Of(genPartition(t, "to token"))
		from, to = min(from, to), max(from, to)
	}
	for _, r := range rows {
		if r.token < from || r.token > to {
			continue
		}
		keys = append(keys, string(r.partition)+"/"+string(r.suffix))
		if r.live && !slices.Contains(partitions, string(r.partition)) {
			partitions = append(partitions, string(r.partition))
		}
	}
	for _, only := range []bool{true, false} {
		q := ScanRequest{
			Shape: shape, From: from, To: to, PartitionsOnly: only, Now: now, Floor: floor,
			MaxRows: rapid.IntRange(1, 3).Draw(t, "page"), MaxBytes: rapid.SampledFrom([]int{1, 60, 1 << 20}).Draw(t, "bytes"),
		}
		var got []string
		for page := 0; ; page++ {
			var a ScanAnswer
			if err := e.Scan(&q, &a); err != nil {
				t.Fatal(err)
			}
			entries := a.Rows
			if only {
				entries = a.Partitions
			}
			for len(entries) > 0 {
				key, _, rest, err := record.NextEntry(entries)
				if err != nil {
					t.Fatal(err)
				}
				if only {
					got = append(got, string(key))
				} else {
					k, err := record.ParseKey(key)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, string(k.Partition)+"/"+string(k.Suffix))
				}
				entries = rest
			}
			if !a.More {
				break
			}
			if a.Next == nil || page > 200 {
				t.Fatalf("page %d: more, after %+v", page, a.Next)
			}
			q.After = a.Next
		}
		want := keys
		if only {
			want = partitions
		}
		if !slices.Equal(got, want) {
			t.Fatalf("partitions only %v: got %q, want %q", only, got, want)
		}
	}
}

// TestExcise removes whole windows, in memtables and files, and nothing else;
// the set of windows survives a restart.
func TestExcise(t *testing.T) {
	e := openTest(t)
	shape := record.Shape{Table: 9, Window: time.Hour, Clustering: []record.Component{{Kind: record.Timestamp}}}
	write := func(hour int) {
		suffix, err := shape.AppendSuffix(nil, binary.BigEndian.AppendUint64(nil, uint64(modelEpoch+hour*3600)*1000))
		if err != nil {
			t.Fatal(err)
		}
		key, err := shape.AppendRowKey(nil, token.Of([]byte("p")), []byte("p"), suffix)
		if err != nil {
			t.Fatal(err)
		}
		row := record.Row{Liveness: record.Liveness{Timestamp: 1}}
		put(t, e, key, row.Append(nil))
	}
	for hour := range 4 {
		write(hour)
		if hour == 1 {
			if err := e.rows.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	all := e.Windows(9)
	if len(all) != 4 {
		t.Fatalf("windows %v", all)
	}
	if err := e.Between(t.Context(), 0, func() error { return e.Excise(9, all[3]) }); err != nil {
		t.Fatal(err)
	}
	if left := e.Windows(9); !slices.Equal(left, all[3:]) {
		t.Errorf("windows left: %v", left)
	}
	fresh, err := findWindows(e.rows)
	if err != nil {
		t.Fatal(err)
	}
	if left := fresh.between(9, 0, 1<<32-1, 0); !slices.Equal(left, all[3:]) {
		t.Errorf("windows found on disk: %v", left)
	}
	q := SliceRequest{Shape: &shape, Token: token.Of([]byte("p")), Partition: []byte("p"), MaxRows: 10, MaxBytes: 1 << 20, Now: modelEpoch}
	var got Slice
	if err := e.Slice(&q, &got); err != nil || got.Count != 1 {
		t.Errorf("%d rows left, %v", got.Count, err)
	}
}

func TestUndecodableRowsAreNotServed(t *testing.T) {
	e := openTest(t)
	shape := record.Shape{Table: 9, Clustering: []record.Component{{Kind: record.Int}}}
	key := rowKey(t, &shape, []byte("p"), 1)
	put(t, e, key, []byte{77, 1, 2})
	q := SliceRequest{Shape: &shape, Token: token.Of([]byte("p")), Partition: []byte("p"), MaxRows: 10, MaxBytes: 1 << 20}
	if err := e.Slice(&q, &Slice{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("one operand: %v", err)
	}
	row := record.Row{Liveness: record.Liveness{Timestamp: 1}}
	put(t, e, key, row.Append(nil))
	if err := e.Slice(&q, &Slice{}); !errors.Is(err, ErrCorrupt) || !errors.Is(err, record.ErrPoison) {
		t.Errorf("poison: %v", err)
	}
	if err := e.Scan(&ScanRequest{Shape: &shape, From: token.Min, To: token.Max, MaxRows: 1, MaxBytes: 1}, &ScanAnswer{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("scan: %v", err)
	}
	if err := corrupted("op", fmt.Errorf("deep: %w", pebble.ErrCorruption)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Pebble's corruption: %v", err)
	}
}
