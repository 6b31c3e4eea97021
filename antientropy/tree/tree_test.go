package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

var shape = record.Shape{Table: 5, Clustering: []record.Component{{Kind: record.Int}}}

func open(tb testing.TB) *storage.Engine {
	tb.Helper()
	cfg := storage.DefaultConfig()
	cfg.Dir, cfg.Memory, cfg.Committers, cfg.DiskReserve = "data", 8<<20, 1, 0
	e, err := storage.Open(cfg, storage.Env{
		FS: vfs.NewMem(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Registerer: prometheus.NewRegistry(), Fatal: func(error) {}, Simulated: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// writes is an item of fragments.
type writes struct {
	entries [][2][]byte
	done    chan error
}

func (w *writes) Bytes() int { return 1 }
func (w *writes) Stage(b *storage.Batch) {
	for _, e := range w.entries {
		b.Merge(e[0], e[1])
	}
}
func (w *writes) Done(err error) { w.done <- err }

func write(tb testing.TB, e *storage.Engine, entries ...[2][]byte) {
	tb.Helper()
	w := &writes{entries, make(chan error, 1)}
	if err := e.Submit(0, w); err != nil {
		tb.Fatal(err)
	}
	if err := <-w.done; err != nil {
		tb.Fatal(err)
	}
}

func rowKey(tb testing.TB, partition string, n int) []byte {
	suffix, err := shape.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(n)))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := shape.AppendRowKey(nil, token.Of([]byte(partition)), []byte(partition), suffix)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func headKey(partition string) []byte {
	return shape.AppendHeadKey(nil, token.Of([]byte(partition)), []byte(partition))
}

func row(ts int64) []byte {
	r := record.Row{Liveness: record.Liveness{Timestamp: ts}}
	return r.Append(nil)
}

func deletion(ts int64) []byte {
	h := record.Head{Deletion: record.Deletion{Timestamp: ts, Seconds: 1}}
	return h.Append(nil)
}

// inRange returns partitions of one range, in the order of their keys.
func inRange(id token.RangeID, n int) (names []string) {
	for i := 0; len(names) < n; i++ {
		name := string(binary.AppendUvarint([]byte("p"), uint64(i)))
		if token.Of([]byte(name)).Range() == id {
			names = append(names, name)
		}
	}
	return names
}

var all = Limits{Rows: 1 << 30, Time: time.Hour}

// TestWalkSeesRowsThroughTheirHeads: among partitions with and without heads, and
// heads without rows, each row is seen through its own head.
func TestWalkSeesRowsThroughTheirHeads(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := open(t)
		names := inRange(7, 6)
		want := map[string]bool{} // keys: whether they count
		for _, name := range names {
			deletedAt := rapid.SampledFrom([]int64{0, 5}).Draw(rt, "deleted")
			if deletedAt > 0 {
				write(t, e, [2][]byte{headKey(name), deletion(deletedAt)})
			}
			for i := range rapid.IntRange(0, 3).Draw(rt, "rows") {
				ts := rapid.Int64Range(4, 6).Draw(rt, "ts")
				key := rowKey(t, name, i)
				write(t, e, [2][]byte{key, row(ts)})
				want[string(key)] = ts > deletedAt
			}
		}
		got := map[string]bool{}
		leaf := record.Leaf{Range: 7, Table: shape.Table, Space: record.SpaceRows}
		w := NewWalker(e)
		// In pieces, which see what one walk would.
		span := Span{Leaf: leaf}
		for rows := 0; ; {
			at, err := w.Walk(span, Form{}, Limits{Rows: 2, Time: time.Hour}, func(key, _ []byte, _ record.Digest, counts bool) bool {
				got[string(key)] = counts
				return true
			})
			if err != nil {
				rt.Fatal(err)
			}
			if rows += at.Rows; at.Through == nil {
				if rows != len(want) {
					rt.Errorf("%d rows in pieces, not %d", rows, len(want))
				}
				break
			}
			span.After = at.Through
		}
		for key, counts := range want {
			if c, ok := got[key]; !ok || c != counts {
				rt.Errorf("key %x: seen %v, counts %v, not %v", key, ok, c, counts)
			}
		}
	})
}

// TestWalkKeepsToItsSpan: only keys of the leaf, after one, up to and with another.
func TestWalkKeepsToItsSpan(t *testing.T) {
	e := open(t)
	name := inRange(7, 1)[0]
	for i := range 6 {
		write(t, e, [2][]byte{rowKey(t, name, i), row(1)}, [2][]byte{rowKey(t, "elsewhere", i), row(1)})
	}
	leaf := record.Leaf{Range: 7, Table: shape.Table, Space: record.SpaceRows}
	w := NewWalker(e)
	var keys [][]byte
	at, err := w.Walk(Span{Leaf: leaf, After: rowKey(t, name, 1), Through: rowKey(t, name, 4)}, Form{}, all, func(key, _ []byte, _ record.Digest, _ bool) bool {
		keys = append(keys, bytes.Clone(key))
		return true
	})
	if err != nil || at.Through != nil || len(keys) != 3 || !bytes.Equal(keys[0], rowKey(t, name, 2)) {
		t.Errorf("%d keys, %+v, %v", len(keys), at, err)
	}
	if at, err = w.Walk(Span{Leaf: leaf, After: rowKey(t, name, 4), Through: rowKey(t, name, 2)}, Form{}, all, nil); err != nil || at.Rows != 0 {
		t.Errorf("an empty span: %+v %v", at, err)
	}
	late, err := w.Walk(Span{Leaf: leaf}, Form{}, all, func([]byte, []byte, record.Digest, bool) bool { return false })
	if err != nil || late.Rows != 1 || !bytes.Equal(late.Through, rowKey(t, name, 0)) {
		t.Errorf("a walk that was ended: %+v %v", late, err)
	}
}

// TestWalkReportsDamage: what cannot be decoded is corrupt, in rows and heads.
func TestWalkReportsDamage(t *testing.T) {
	for _, bad := range [][2][]byte{
		{rowKey(t, inRange(7, 1)[0], 1), []byte{99}},
		{headKey(inRange(7, 1)[0]), []byte{99}},
	} {
		e := open(t)
		write(t, e, bad, [2][]byte{rowKey(t, inRange(7, 1)[0], 2), row(1)})
		leaf := record.Leaf{Range: 7, Table: shape.Table, Space: record.SpaceRows}
		_, err := NewWalker(e).Walk(Span{Leaf: leaf}, Form{}, all, func([]byte, []byte, record.Digest, bool) bool { return true })
		if !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%x: %v", bad[0], err)
		}
	}
}

// TestBuckets: a bucket's sum is that of its eight, and differs if a key does.
func TestBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.SliceOfN(rapid.Byte(), 1, 12), 1, 40, func(b []byte) string { return string(b) }).Draw(t, "keys")
		var whole, less Buckets
		for i, key := range keys {
			sum := record.Digest{byte(i + 1), 7: 9}
			whole.Add(key, sum)
			if i > 0 {
				less.Add(key, sum)
			}
		}
		hash := KeyHash(keys[0])
		for level := range Levels {
			bucket := bucketOf(hash, level)
			a, b := whole.Children(bucket, level), less.Children(bucket, level)
			for i := range a {
				mine := bucket*Fan+uint32(i) == bucketOf(hash, level+1)
				if mine != (a[i] != b[i]) {
					t.Fatalf("level %d, child %d differs: %v", level, i, !mine)
				}
				if level+1 < Levels {
					total := uint64(0)
					for _, s := range whole.Children(bucket*Fan+uint32(i), level+1) {
						total += s
					}
					if total != a[i] {
						t.Fatalf("level %d, child %d: %d, its children %d", level, i, a[i], total)
					}
				}
			}
			c := Chosen{Level: level, Buckets: []uint32{bucket}}
			for _, key := range keys {
				if c.Has(KeyHash(key)) != (bucketOf(KeyHash(key), level) == bucket) {
					t.Fatal("a key is chosen wrongly")
				}
			}
		}
	})
	if DeepEnough(3, 0) || !DeepEnough(2, 0) || !DeepEnough(1<<40, Levels) || DeepEnough(129, 2) || !DeepEnough(128, 2) {
		t.Error("a depth")
	}
}

// BenchmarkWalk hashes rows of about 300 bytes; one operation is one row.
func BenchmarkWalk(b *testing.B) {
	e := open(b)
	r := record.Row{Liveness: record.Liveness{Timestamp: 1}}
	for column := range uint16(4) {
		r.Cells = append(r.Cells, record.Cell{Column: column, Timestamp: 1, Value: bytes.Repeat([]byte{1}, 60)})
	}
	fragment := r.Append(nil)
	const rows = 10_000
	for from := 0; from < rows; from += 100 {
		var entries [][2][]byte
		for i := range 100 {
			entries = append(entries, [2][]byte{rowKey(b, "p", from+i), fragment})
		}
		write(b, e, entries...)
	}
	leaf := record.Leaf{Range: token.Of([]byte("p")).Range(), Table: shape.Table, Space: record.SpaceRows}
	w := NewWalker(e)
	b.ReportAllocs()
	var content record.LeafContent
	for n := 0; n < b.N; n += rows {
		if _, err := w.Walk(Span{Leaf: leaf}, Form{}, Limits{Rows: b.N - n, Time: time.Hour}, func(_, _ []byte, sum record.Digest, _ bool) bool {
			content.Add(sum)
			return true
		}); err != nil {
			b.Fatal(err)
		}
	}
}
