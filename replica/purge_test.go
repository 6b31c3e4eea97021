package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

var rowsShape = record.Shape{Table: tableRows, Clustering: []record.Component{{Kind: record.Int}}}

func rowSuffix(tb testing.TB, number int) []byte {
	tb.Helper()
	suffix, err := rowsShape.AppendSuffix(nil, binary.BigEndian.AppendUint32(nil, uint32(number)))
	if err != nil {
		tb.Fatal(err)
	}
	return suffix
}

func rangeOf(partition string) token.RangeID { return token.Of([]byte(partition)).Range() }

func headKey(partition string) []byte {
	return rowsShape.AppendHeadKey(nil, token.Of([]byte(partition)), []byte(partition))
}

// write applies a fragment of a key.
func (f *fixture) write(tb testing.TB, key, fragment []byte) {
	tb.Helper()
	f.mustApply(tb, group(record.AppendEntry(nil, key, fragment)))
}

// stored is what the store has of a key; nil if nothing.
func (f *fixture) stored(tb testing.TB, key []byte) []byte {
	tb.Helper()
	cursor, err := f.engine.Cursor(key, append(bytes.Clone(key), 0))
	if err != nil {
		tb.Fatal(err)
	}
	var value []byte
	if cursor.Seek(key) {
		value, err = cursor.Value()
		value = bytes.Clone(value)
	}
	if err := errors.Join(err, cursor.Err(), cursor.Close()); err != nil {
		tb.Fatal(err)
	}
	return value
}

// purge drops what may go of rows of a partition.
func (f *fixture) purge(tb testing.TB, partition string, form record.PurgeForm, keys ...[]byte) record.Purged {
	tb.Helper()
	done, err := f.PurgeRows(tb.Context(), rangeOf(partition), keys, form)
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

// purgeHead drops what may go of a partition's head, as it is.
func (f *fixture) purgeHead(tb testing.TB, partition string, form record.PurgeForm) record.Purged {
	tb.Helper()
	key := headKey(partition)
	done, err := f.PurgeHead(tb.Context(), rangeOf(partition), key, f.stored(tb, key), form)
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

func cell(column uint16, timestamp int64, value string) record.Cell {
	return record.Cell{Column: column, Timestamp: timestamp, Value: []byte(value)}
}

func cells(all ...record.Cell) []byte {
	r := record.Row{Cells: all}
	return r.Append(nil)
}

// TestPurgeDropsWhatHeadsHide, at no purge point too, of as many rows as there are;
// the deletions stay, and so does what they do not hide.
func TestPurgeDropsWhatHeadsHide(t *testing.T) {
	deletion := record.Deletion{Timestamp: 20, Seconds: 100}
	spanned := record.RangeTombstone{Start: rowSuffix(t, 30), End: rowSuffix(t, 180), Deletion: deletion}
	for name, c := range map[string]struct {
		head  record.Head
		hides func(n int) bool
	}{
		"a partition": {record.Head{Deletion: deletion}, func(int) bool { return true }},
		"a range":     {record.Head{Ranges: []record.RangeTombstone{spanned}}, func(n int) bool { return 30 <= n && n < 180 }},
		"nothing":     {record.Head{Static: record.Row{Cells: []record.Cell{cell(9, 1, "static")}}}, func(int) bool { return false }},
	} {
		f := start(t, 3, nil)
		head := c.head.Append(nil)
		f.write(t, headKey("p"), head)
		var entries, keys, left [][]byte
		var want record.Purged
		for n := range 200 {
			key, whole, newer := rowKey(t, "p", n), cells(cell(3, 10, "old")), []byte(nil)
			if n%3 == 0 { // part of it is newer
				whole, newer = cells(cell(3, 10, "old"), cell(4, 30, "new")), cells(cell(4, 30, "new"))
			}
			switch {
			case !c.hides(n):
				newer = whole
			case newer == nil:
				want.Bytes += len(key)
				fallthrough
			default:
				want.Keys++
				want.Bytes += len(whole) - len(newer)
			}
			entries, keys, left = append(entries, record.AppendEntry(nil, key, whole)), append(keys, key), append(left, newer)
		}
		f.mustApply(t, group(entries...))
		if got := f.purge(t, "p", record.PurgeForm{}, append(keys, rowKey(t, "p", 1000))...); got != want {
			t.Errorf("%s: purged %+v, want %+v", name, got, want)
		}
		for n := range keys {
			if got := f.stored(t, keys[n]); !bytes.Equal(got, left[n]) {
				t.Errorf("%s: %x is left of row %d, want %x", name, got, n, left[n])
			}
		}
		if got := f.purgeHead(t, "p", record.PurgeForm{}); got != (record.Purged{}) || !bytes.Equal(f.stored(t, headKey("p")), head) {
			t.Errorf("%s: %+v of the head has gone", name, got)
		}
		if again := f.purge(t, "p", record.PurgeForm{}, keys...); again != (record.Purged{}) {
			t.Errorf("%s: a second time %+v", name, again)
		}
		m := f.metrics
		if k, b := testutil.ToFloat64(m.purgedKeys), testutil.ToFloat64(m.purgedBytes); k != float64(want.Keys) || b != float64(want.Bytes) {
			t.Errorf("%s: %v keys and %v bytes counted, want %+v", name, k, b, want)
		}
	}
}

// TestPurgePoint: deletions and expired data go exactly from the purge point on that
// has reached them, and nothing else goes with them.
func TestPurgePoint(t *testing.T) {
	const at = 1000
	deletion := record.Deletion{Timestamp: 5, Seconds: at}
	rows := map[string]record.Row{
		"a row deletion":      {Deletion: deletion},
		"a tombstone":         {Cells: []record.Cell{{Column: 3, Timestamp: 5, Tombstone: true, Expiry: at}}},
		"an expired cell":     {Cells: []record.Cell{{Column: 3, Timestamp: 5, TTL: 1, Expiry: at, Value: []byte("v")}}},
		"an expired liveness": {Liveness: record.Liveness{Timestamp: 5, TTL: 1, Expiry: at}},
	}
	heads := map[string]record.Head{
		"a partition deletion": {Deletion: deletion},
		"a range deletion":     {Ranges: []record.RangeTombstone{{Start: []byte{1}, End: []byte{2}, Deletion: deletion}}},
	}
	for name, row := range rows {
		heads["static "+name] = record.Head{Static: row}
	}
	f := start(t, 1, nil)
	live := cell(7, 6, "live")
	check := func(name string, key, whole, left []byte, purge func(form record.PurgeForm) record.Purged) {
		t.Helper()
		f.write(t, key, whole)
		for _, form := range []record.PurgeForm{{}, {Purge: 1}, {Purge: at - 1, Expired: at - 1}} {
			if done := purge(form); done.Keys > 0 || !bytes.Equal(f.stored(t, key), whole) {
				t.Errorf("%s: at %+v %+v has gone", name, form, done)
			}
		}
		if done := purge(record.PurgeForm{Purge: at}); done.Keys != 1 || done.Bytes <= 0 || !bytes.Equal(f.stored(t, key), left) {
			t.Errorf("%s: %+v has gone, %x is left, want %x", name, done, f.stored(t, key), left)
		}
	}
	for name, row := range rows {
		alone, key := row.Append(nil), rowKey(t, name, 1)
		purge := func(form record.PurgeForm) record.Purged { return f.purge(t, name, form, key) }
		check(name, key, alone, nil, purge)
		row.Cells = append(slices.Clone(row.Cells), live)
		check(name+" and a value", key, row.Append(nil), cells(live), purge)
	}
	for name, head := range heads {
		purge := func(form record.PurgeForm) record.Purged { return f.purgeHead(t, name, form) }
		check(name, headKey(name), head.Append(nil), nil, purge)
		head.Static.Cells = append(slices.Clone(head.Static.Cells), live)
		left := record.Head{Static: record.Row{Cells: []record.Cell{live}}}
		check(name+" and a value", headKey(name), head.Append(nil), left.Append(nil), purge)
	}
}

// TestPurgeShrinksExpiredValues to their hashes, before the purge point has come.
func TestPurgeShrinksExpiredValues(t *testing.T) {
	f := start(t, 1, nil)
	expiring := cell(3, 5, strings.Repeat("v", 100))
	expiring.TTL, expiring.Expiry = 7, 1000
	static := record.Head{Static: record.Row{Cells: []record.Cell{expiring}}}
	f.write(t, rowKey(t, "p", 1), cells(expiring))
	f.write(t, headKey("p"), static.Append(nil))
	for expired, want := range map[int64]record.Purged{999: {}, 1000: {Keys: 1, Bytes: 92}} {
		form := record.PurgeForm{Purge: 1, Expired: expired}
		if got := f.purge(t, "p", form, rowKey(t, "p", 1)); got != want {
			t.Errorf("at %d %+v of a row has gone, want %+v", expired, got, want)
		}
		if got := f.purgeHead(t, "p", form); got != want {
			t.Errorf("at %d %+v of a head has gone, want %+v", expired, got, want)
		}
	}
	var r record.Row
	if err := record.DecodeRow(f.stored(t, rowKey(t, "p", 1)), &r); err != nil || len(r.Cells) != 1 || !r.Cells[0].Hashed || r.Cells[0].Expiry != 1000 {
		t.Errorf("%+v is left: %v", r, err)
	}
}

// TestPurgeMayLengthen a row: timestamps are written relative to a part that goes.
// Nothing is counted as dropped then.
func TestPurgeMayLengthen(t *testing.T) {
	f := start(t, 1, nil)
	const written = 1_700_000_000_000_000
	row := record.Row{Cells: []record.Cell{{Column: 3, Timestamp: written, Tombstone: true, Expiry: 1000}, cell(4, written+1e9, "later")}}
	for column := range uint16(20) {
		row.Cells = append(row.Cells, cell(5+column, written, "v"))
	}
	whole, key := row.Append(nil), rowKey(t, "p", 1)
	f.write(t, key, whole)
	done := f.purge(t, "p", record.PurgeForm{Purge: 1000}, key)
	left := f.stored(t, key)
	if len(left) <= len(whole) {
		t.Fatalf("%d bytes are left of %d: this test shows nothing", len(left), len(whole))
	}
	if done != (record.Purged{Keys: 1}) || testutil.ToFloat64(f.metrics.purgedBytes) != 0 {
		t.Errorf("purged %+v, want one key", done)
	}
}

// TestPurgeKeepsNewerWrites: those that came after the caller's look, that are queued
// in front of the purge, and behind it.
func TestPurgeKeepsNewerWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, vfs.NewMem(), 1, nil)
		defer f.stop(t)
		head := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
		f.write(t, headKey("p"), head.Append(nil))
		key, revived := rowKey(t, "p", 1), rowKey(t, "p", 2)
		f.write(t, key, cells(cell(3, 10, "hidden"), cell(4, 30, "seen")))
		f.write(t, revived, cells(cell(3, 10, "hidden")))
		keys := [][]byte{key, revived} // what a look has found

		f.write(t, key, cells(cell(5, 40, "after the look")))
		release := f.block(t, 0)
		send := func(key, fragment []byte) *sink {
			s := newSink()
			f.Apply(peer, group(record.AppendEntry(nil, key, fragment)), time.Time{}, s, 0)
			return s
		}
		sinks := []*sink{send(key, cells(cell(6, 50, "in front"))), send(revived, cells(cell(6, 50, "in front")))}
		purged := make(chan error, 1)
		go func() {
			_, err := f.PurgeRows(context.Background(), rangeOf("p"), keys, record.PurgeForm{Purge: 100})
			purged <- err
		}()
		synctest.Wait() // the purge is queued
		sinks = append(sinks, send(key, cells(cell(7, 60, "behind"))), send(key, cells(cell(4, 61, "newer"))))
		release()
		if err := <-purged; err != nil {
			t.Error(err)
		}
		for _, s := range sinks {
			if v := <-s.verdict; v.Code != transport.OK {
				t.Error(v.Err())
			}
		}
		want := cells(cell(4, 61, "newer"), cell(5, 40, "after the look"), cell(6, 50, "in front"), cell(7, 60, "behind"))
		if got := f.stored(t, key); !bytes.Equal(got, want) {
			t.Errorf("%x is left, want %x", got, want)
		}
		if got := f.stored(t, revived); !bytes.Equal(got, cells(cell(6, 50, "in front"))) {
			t.Errorf("%x is left of a row that came back", got)
		}
	})
}

// TestPurgeHeadAsItWas: a head that has changed since its rows were purged is left
// alone, and so is one that has gone.
func TestPurgeHeadAsItWas(t *testing.T) {
	f := start(t, 2, nil)
	form, key := record.PurgeForm{Purge: 100}, headKey("p")
	purge := func(was []byte) record.Purged {
		t.Helper()
		done, err := f.PurgeHead(t.Context(), rangeOf("p"), key, was, form)
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	old := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
	was := old.Append(nil)
	if done := purge(was); done.Keys > 0 || f.stored(t, key) != nil {
		t.Errorf("%+v of no head has gone", done)
	}
	f.write(t, key, was)
	newer := record.Head{Deletion: record.Deletion{Timestamp: 21, Seconds: 99}}
	f.write(t, key, newer.Append(nil))
	for _, was := range [][]byte{was, nil} {
		if done := purge(was); done.Keys > 0 || !bytes.Equal(f.stored(t, key), newer.Append(nil)) {
			t.Errorf("%+v of a head that was another has gone", done)
		}
	}
	if done := purge(newer.Append(nil)); done != (record.Purged{Keys: 1, Bytes: len(key) + len(newer.Append(nil))}) || f.stored(t, key) != nil {
		t.Errorf("%+v of the head has gone", done)
	}
}

// TestPurgeHeadDropsWhatItHides: the part of a static row that the partition's deletion
// hides goes before it, or with it.
func TestPurgeHeadDropsWhatItHides(t *testing.T) {
	f := start(t, 1, nil)
	deletion, live := record.Deletion{Timestamp: 20, Seconds: 100}, cell(4, 30, "live")
	both := record.Row{Liveness: record.Liveness{Timestamp: 10}, Cells: []record.Cell{cell(3, 20, "hidden"), live}}
	rest := record.Row{Cells: []record.Cell{live}}
	for purge, left := range map[int64]record.Head{0: {Deletion: deletion, Static: rest}, 100: {Static: rest}} {
		name := fmt.Sprint("p", purge)
		whole := record.Head{Deletion: deletion, Static: both}
		f.write(t, headKey(name), whole.Append(nil))
		done := f.purgeHead(t, name, record.PurgeForm{Purge: purge})
		if got := f.stored(t, headKey(name)); done.Keys != 1 || !bytes.Equal(got, left.Append(nil)) {
			t.Errorf("at %d %+v has gone, %x is left, want %x", purge, done, got, left.Append(nil))
		}
	}
}

// TestPurgeLeavesRetiredWindows alone: not while they are about to be removed, which
// another committer may do meanwhile, and they do not come back.
func TestPurgeLeavesRetiredWindows(t *testing.T) {
	f := start(t, 2, nil)
	head := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
	f.write(t, daysShape.AppendHeadKey(nil, token.Of([]byte("p")), []byte("p")), head.Append(nil))
	var keys [][]byte
	for n := range 2 {
		e := dayEntry(t, "p", n+1)
		f.mustApply(t, group(e))
		key, _, _, _ := record.NextEntry(e)
		keys = append(keys, key)
	}
	v := catalog{version: 2, floor: daysLeaf(t, "p", 2).Window}.view(t)
	c := f.engine.CommitterOf(rangeOf("p"))
	err := f.engine.Between(t.Context(), c, func() error {
		f.committers[c].view, f.committers[c].floors = v, true // as Adopt does first
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if done := f.purge(t, "p", record.PurgeForm{}, keys[0]); done.Keys > 0 || f.stored(t, keys[0]) == nil {
		t.Errorf("%+v of a window that is about to go", done)
	}
	if err := f.Adopt(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	// The second key, in a window that stays, is purged by the same call.
	if done := f.purge(t, "p", record.PurgeForm{}, keys...); done.Keys != 1 || f.stored(t, keys[0]) != nil || f.stored(t, keys[1]) != nil {
		t.Errorf("%+v has gone; left: %x, %x", done, f.stored(t, keys[0]), f.stored(t, keys[1]))
	}
	if windows := f.engine.Windows(tableDays); len(windows) != 1 {
		t.Errorf("windows %d", windows)
	}
}

// TestPurgeLeavesMarksAlone: what a purge drops does not count, so leaves stay clean
// and settled, and a hash that was under way is kept.
func TestPurgeLeavesMarksAlone(t *testing.T) {
	f := start(t, 2, nil)
	head := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
	f.write(t, headKey("p"), head.Append(nil))
	f.mustApply(t, group(entry(t, "p", 1), entry(t, "p", 2)))
	rows := rowsLeaf("p")
	heads, form := rows.Heads(), record.PurgeForm{Purge: 100}
	purge := func(n int) {
		if done := f.purge(t, "p", form, rowKey(t, "p", n)); done.Keys != 1 {
			t.Errorf("purged %+v", done)
		}
	}
	if !f.clean(t, rows, func() { purge(1) }) || !f.clean(t, heads, nil) {
		t.Error("a hash was not kept")
	}
	for range 2 {
		if err := f.RotateLeaves(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	epoch, _ := f.LeafRange(rows.Range)
	purge(2)
	if done := f.purgeHead(t, "p", form); done.Keys != 1 {
		t.Errorf("purged %+v of the head", done)
	}
	if now, dirty := f.LeafRange(rows.Range); now != epoch || dirty != 0 {
		t.Errorf("%d changes of leaves, %d are dirty", now-epoch, dirty)
	}
	for leaf, s := range f.leafStates(t, rows.Range) {
		if !s.Clean || s.Recent || s.LeafContent != sample {
			t.Errorf("leaf %+v: %+v", leaf, s)
		}
	}
}

// TestPurgeOfCorruptData ends with ErrCorrupt, and drops nothing of what it read with
// it, before or after.
func TestPurgeOfCorruptData(t *testing.T) {
	deleted := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
	junk, form := []byte{200, 1, 2}, record.PurgeForm{Purge: 100, Expired: 100}
	f := start(t, 1, nil)
	for name, c := range map[string]struct{ row, head []byte }{
		"an unknown encoding": {junk, deleted.Append(nil)},
		"no row":              {[]byte{1}, deleted.Append(nil)},
		"a head":              {cells(cell(3, 10, "v")), junk},
	} {
		f.write(t, headKey(name), c.head)
		var keys [][]byte
		for n, fragment := range [][]byte{cells(cell(3, 10, "before")), c.row, cells(cell(3, 10, "after"))} {
			keys = append(keys, rowKey(t, name, n))
			f.write(t, keys[n], fragment)
		}
		done, err := f.PurgeRows(t.Context(), rangeOf(name), keys, form)
		if !errors.Is(err, storage.ErrCorrupt) || done != (record.Purged{}) {
			t.Errorf("%s: purged %+v: %v", name, done, err)
		}
		if f.stored(t, keys[0]) == nil || !bytes.Equal(f.stored(t, keys[1]), c.row) || f.stored(t, keys[2]) == nil {
			t.Errorf("%s: rows are gone", name)
		}
	}
	f.write(t, headKey("p"), junk)
	f.write(t, headKey("p"), deleted.Append(nil)) // merged, it is poison
	poison := f.stored(t, headKey("p"))
	done, err := f.PurgeHead(t.Context(), rangeOf("p"), headKey("p"), poison, form)
	if !errors.Is(err, storage.ErrCorrupt) || done.Keys > 0 || !record.IsPoison(poison) || !bytes.Equal(f.stored(t, headKey("p")), poison) {
		t.Errorf("a poisoned head: purged %+v: %v", done, err)
	}
	for _, key := range [][]byte{{1, 2}, rowKey(t, "p", 1)[:14]} {
		if _, err := f.PurgeRows(t.Context(), rangeOf("p"), [][]byte{key}, form); !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("a key of %d bytes: %v", len(key), err)
		}
	}
	if n := testutil.ToFloat64(f.metrics.purgedKeys); n > 0 {
		t.Errorf("%v keys counted", n)
	}
}

// BenchmarkPurge is what a row costs that its partition's head hides, in partitions
// of 1,000 rows on a store in memory.
func BenchmarkPurge(b *testing.B) {
	const rows = 1000
	f := start(b, 1, nil)
	head := record.Head{Deletion: record.Deletion{Timestamp: 20, Seconds: 100}}
	value := fragment(strings.Repeat("v", 256))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		name := fmt.Sprint("p", i)
		keys, entries := make([][]byte, rows), record.AppendEntry(nil, headKey(name), head.Append(nil))
		for n := range keys {
			keys[n] = rowKey(b, name, n)
			entries = record.AppendEntry(entries, keys[n], value)
		}
		f.mustApply(b, transport.Group{Version: 1, Count: rows + 1, Entries: entries})
		b.StartTimer()
		if done := f.purge(b, name, record.PurgeForm{}, keys...); done.Keys != rows {
			b.Fatalf("purged %+v", done)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
}
