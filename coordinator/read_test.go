package coordinator

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// local puts a row on one replica only, past the coordinator.
func (n *node) local(tb testing.TB, t *schema.TableView, partition string, number int, row *record.Row) {
	tb.Helper()
	n.behave(func(n *node) { n.merge(rowKey(tb, t, partition, number), row.Append(nil)) })
}

// localHead puts a partition head on one replica only.
func (n *node) localHead(t *schema.TableView, partition string, head *record.Head) {
	key := t.Shape.AppendHeadKey(nil, token.Of([]byte(partition)), []byte(partition))
	n.behave(func(n *node) { n.merge(key, head.Append(nil)) })
}

func valueRow(timestamp int64, value string) *record.Row {
	return &record.Row{
		Liveness: record.Liveness{Timestamp: timestamp},
		Cells:    []record.Cell{{Column: testColumn, Timestamp: timestamp, Value: []byte(value)}},
	}
}

func TestDigests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		n := cl.nodes[0]
		table := cl.current().Table(testTable)
		for _, r := range cl.nodes {
			r.local(t, table, "p", 1, valueRow(10, "same"))
			r.local(t, table, "p", 2, valueRow(10, "old"))
		}
		m := n.coordinator.metrics
		if got, err := n.read(t, All, "p"); err != nil || len(got) != 2 {
			t.Fatalf("read %v, %v", got, err)
		}
		for i, r := range cl.nodes {
			if r.reads != 1 {
				t.Errorf("node %d was asked %d times when all agree", i, r.reads)
			}
		}
		if testutil.ToFloat64(m.mismatches) != 0 {
			t.Error("a mismatch is counted when all agree")
		}
		// The replicas differ in every way: a newer value, a deleted row, a row only one has.
		cl.nodes[1].local(t, table, "p", 2, valueRow(20, "new"))
		cl.nodes[2].local(t, table, "p", 1, &record.Row{Deletion: record.Deletion{Timestamp: 15, Seconds: 1}})
		cl.nodes[2].local(t, table, "p", 3, valueRow(5, "only here"))
		want := map[int]string{2: "new", 3: "only here"}
		for i, r := range cl.nodes {
			if got, err := r.read(t, All, "p"); err != nil || !maps.Equal(got, want) {
				t.Errorf("node %d reads %v, %v; want %v", i, got, err, want)
			}
		}
		if got := testutil.ToFloat64(m.mismatches); got != 1 {
			t.Errorf("%v mismatches at node 0, want 1", got)
		}
		// The partition is deleted, and one replica knows.
		cl.nodes[1].localHead(table, "p", &record.Head{Deletion: record.Deletion{Timestamp: 7, Seconds: 1}})
		if got, err := n.read(t, All, "p"); err != nil || !maps.Equal(got, map[int]string{2: "new"}) {
			t.Errorf("after the deletion: %v, %v", got, err)
		}
	})
}

// TestHedge: a replica that does not answer costs the hedge delay, not the
// deadline; afterwards it is not asked first.
func TestHedge(t *testing.T) {
	for _, level := range []Level{One, Quorum} {
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 4, 3, nil)
			reader := cl.nodes[0]
			for i := 0; cl.replica("p", 0) == reader || cl.replica("p", 1) == reader || cl.replica("p", 2) == reader; i++ {
				reader = cl.nodes[i]
			}
			res, err := reader.write(t, WriteOptions{Level: All}, func(w *Write) { put(t, w, "p", 1, "v") })
			if err = errors.Join(err, resErr(res)); err != nil {
				t.Fatal(err)
			}
			cl.replica("p", 1).behave(func(n *node) { n.hangs = true })
			slow := 0
			for range 20 {
				start := time.Now()
				got, err := reader.read(t, level, "p")
				if err != nil || got[1] != "v" {
					t.Fatalf("read %v, %v", got, err)
				}
				took := time.Since(start)
				if took > 2*DefaultConfig().HedgeDelay {
					t.Errorf("a read took %s", took)
				}
				if took > 0 {
					slow++
				}
			}
			if slow == 0 || slow > 10 {
				t.Errorf("%d of 20 reads were hedged", slow)
			}
			synctest.Wait()
			if _, _, reads := reader.coordinator.admission.Load(); reads != 0 || reader.coordinator.admission.Open() != 0 {
				t.Errorf("%d reads and %d tasks are open", reads, reader.coordinator.admission.Open())
			}
		})
	}
}

// TestReadFailsOver: replicas that fail are replaced at once, in both rounds.
func TestReadFailsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		table := cl.current().Table(testTable)
		table.ReadRepair = schema.RepairOff // each read finds the same
		for i, r := range cl.nodes {
			r.local(t, table, "p", i, valueRow(10, "v"))
		}
		fail := &transport.Verdict{Code: transport.Failed, Detail: "the data is corrupt"}
		for i, bad := range cl.nodes {
			bad.behave(func(n *node) { n.refuses = fail })
			start := time.Now()
			for _, r := range cl.nodes {
				got, err := r.read(t, Quorum, "p")
				if err != nil || len(got) != 2 {
					t.Errorf("with node %d failing: %v, %v", i, got, err)
				}
				_, err = r.read(t, All, "p")
				var unavailable *UnavailableError
				if !errors.As(err, &unavailable) || unavailable.Need != 3 || unavailable.Alive != 2 || unavailable.Detail != fail.Detail {
					t.Errorf("r=all with node %d failing: %v", i, err)
				}
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("took %s", took)
			}
			bad.behave(func(n *node) { n.refuses = nil })
		}
	})
}

func TestReadTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		cl.nodes[1].behave(func(n *node) { n.hangs = true })
		cl.nodes[2].behave(func(n *node) { n.hangs = true })
		start := time.Now()
		_, err := cl.nodes[0].read(t, Quorum, "p")
		var timeout *TimeoutError
		if !errors.As(err, &timeout) || *timeout != (TimeoutError{Need: 2, Got: 1}) {
			t.Errorf("error %v, want a timeout: need 2, got 1", err)
		}
		if took := time.Since(start); took != DefaultConfig().ReadTimeout {
			t.Errorf("took %s", took)
		}
	})
}

// TestShortReads: one replica's page is full of rows that another has deleted.
func TestShortReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		n := cl.nodes[0]
		table := cl.current().Table(testTable)
		const deleted = 3000
		for i := range deleted {
			for _, r := range cl.nodes[:2] {
				r.local(t, table, "p", i, valueRow(10, "v"))
			}
			cl.nodes[2].local(t, table, "p", i, &record.Row{Deletion: record.Deletion{Timestamp: 15, Seconds: 1}})
		}
		cl.nodes[0].local(t, table, "p", deleted+5, valueRow(10, "last"))
		for _, reverse := range []bool{false, true} {
			before := n.reads
			result, err := n.coordinator.Read(t.Context(), &ReadRequest{
				Table: table, Partition: []byte("p"), Reverse: reverse, MaxRows: 2, Options: ReadOptions{Level: All, Receipt: true},
			})
			if err != nil || len(result.Rows) != 1 || result.More {
				t.Fatalf("%d rows, more %t, %v; want the last row only", len(result.Rows), result.More, err)
			}
			if got := numbers(t, table, result.Rows)[deleted+5]; got != "last" {
				t.Errorf("read %v", numbers(t, table, result.Rows))
			}
			if asked := n.reads - before; asked > 15 {
				t.Errorf("a replica was asked %d times", asked)
			}
			for _, r := range result.Receipt.Replicas {
				if r.Outcome != "ok" {
					t.Errorf("receipt says %v", result.Receipt.Replicas)
				}
			}
		}
	})
}

func TestPageBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		table := cl.current().Table(testTable)
		for i := range 100 {
			for j, r := range cl.nodes {
				if i%7 != j {
					r.local(t, table, "p", i, valueRow(10, fmt.Sprintf("%0100d", i)))
				}
			}
		}
		req := &ReadRequest{Table: table, Partition: []byte("p"), MaxBytes: 1000, Options: ReadOptions{Level: Quorum}}
		seen, pages := 0, 0
		for more := true; more; pages++ {
			result, err := cl.nodes[0].coordinator.Read(t.Context(), req)
			if err != nil || len(result.Rows) == 0 || len(result.Rows) > 15 {
				t.Fatalf("page of %d rows, %v", len(result.Rows), err)
			}
			seen, more = seen+len(result.Rows), result.More
			req.Start = append(result.Rows[len(result.Rows)-1].Suffix, 0)
		}
		if seen != 100 || pages < 7 {
			t.Errorf("%d rows in %d pages", seen, pages)
		}
	})
}

// TestConcurrentWritersConverge: all replicas end with the same value, which is
// the one that every merge chooses.
func TestConcurrentWritersConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		for i, n := range cl.nodes {
			n.behave(func(n *node) { n.delay = time.Duration(i*3) * time.Millisecond })
		}
		errs := make(chan error)
		for i, n := range cl.nodes {
			for j := range 20 {
				go func() {
					time.Sleep(time.Duration(i*j%5) * time.Millisecond)
					// A client timestamp in half of the writes: equal ones compete.
					opts := WriteOptions{Level: One}
					if j%2 == 0 {
						opts.Timestamp = 1000
					}
					res, err := n.write(t, opts, func(w *Write) { put(t, w, "p", 1, fmt.Sprint(i, j)) })
					errs <- errors.Join(err, resErr(res))
				}()
			}
		}
		for range 60 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if all := cl.nodes[0].stored(); !maps.Equal(all, cl.nodes[1].stored()) || !maps.Equal(all, cl.nodes[2].stored()) {
			t.Error("replicas differ")
		}
		want, err := cl.nodes[0].read(t, One, "p")
		if err != nil || len(want) != 1 {
			t.Fatalf("read %v, %v", want, err)
		}
		for _, n := range cl.nodes {
			if got, err := n.read(t, All, "p"); err != nil || !maps.Equal(got, want) {
				t.Errorf("read %v, %v; want %v", got, err, want)
			}
		}
	})
}

func TestScanPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 5, 3, nil)
		n := cl.nodes[0]
		table := cl.current().Table(testTable)
		const partitions = 300
		res, err := n.write(t, WriteOptions{Level: All}, func(w *Write) {
			for i := range partitions {
				put(t, w, fmt.Sprint("p", i), 1, "v")
			}
			addRow(t, w, "deleted", 1, &record.Row{Deletion: record.Deletion{Timestamp: 1, Seconds: 1}})
		})
		if err = errors.Join(err, resErr(res)); err != nil {
			t.Fatal(err)
		}
		cl.nodes[1].behave(func(n *node) { n.dead = true })
		cl.nodes[2].behave(func(n *node) { n.hangs = true })
		cl.nodes[3].behave(func(n *node) { n.refuses = &transport.Verdict{Code: transport.Failed} })
		pages := func(rows int) (names map[string]int) {
			names = map[string]int{}
			req := &ScanRequest{Table: table, PartitionsOnly: true, MaxRows: rows}
			last := token.Min
			for page := 0; page == 0 || req.Cursor != ""; page++ {
				result, err := n.coordinator.Scan(t.Context(), req)
				if err != nil {
					t.Fatal(err)
				}
				if len(result.Partitions) > rows {
					t.Fatalf("%d partitions in a page of %d", len(result.Partitions), rows)
				}
				for _, p := range result.Partitions {
					names[string(p)]++
					if tok := token.Of(p); tok < last {
						t.Fatal("not in token order")
					} else {
						last = tok
					}
				}
				req.Cursor = result.Next
			}
			return names
		}
		// Node 3 fails and node 2 hangs: some ranges of the five nodes have no other replica alive.
		_, err = n.coordinator.Scan(t.Context(), &ScanRequest{Table: table, PartitionsOnly: true, Timeout: time.Second})
		var timeout *TimeoutError
		if !errors.As(err, &timeout) {
			t.Errorf("error %v, want a timeout", err)
		}
		cl.nodes[1].behave(func(n *node) { n.dead = false })
		for _, rows := range []int{1000, 300, 50, 1} {
			names := pages(rows)
			if len(names) != partitions || names["deleted"] != 0 {
				t.Errorf("pages of %d: %d names", rows, len(names))
			}
			for name, times := range names {
				if times != 1 {
					t.Errorf("pages of %d: %s is listed %d times", rows, name, times)
				}
			}
		}
		var cursor *CursorError
		for _, text := range []string{"nonsense", Cursor{Table: 5, Token: token.Of(nil)}.String()} {
			if _, err := n.coordinator.Scan(t.Context(), &ScanRequest{Table: table, PartitionsOnly: true, Cursor: text}); !errors.As(err, &cursor) {
				t.Errorf("cursor %q: %v", text, err)
			}
		}
	})
}

// TestHiddenRowsDoNotSpeakForOthers: all that the replicas' limited answers hold is
// hidden, so they look alike, but one went further than the other: its silence
// about rows that the other has not come to says nothing.
func TestHiddenRowsDoNotSpeakForOthers(t *testing.T) {
	for _, reverse := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil)
			table := cl.current().Table(testTable)
			numbers := []int{1, 2, 3, 4}
			if reverse {
				numbers = []int{4, 3, 2, 1}
			}
			dead := &record.Row{Deletion: record.Deletion{Timestamp: 1, Seconds: 1}}
			for _, n := range cl.nodes {
				n.localHead(table, "p", &record.Head{Deletion: record.Deletion{Timestamp: 1, Seconds: 1}})
				n.local(t, table, "p", numbers[3], dead)
			}
			cl.nodes[0].local(t, table, "p", numbers[2], dead)
			cl.nodes[1].local(t, table, "p", numbers[0], dead)
			cl.nodes[1].local(t, table, "p", numbers[1], valueRow(2, "alive"))
			cl.nodes[2].local(t, table, "p", numbers[2], dead)
			for _, reader := range cl.nodes {
				got, err := readPages(t.Context(), reader.coordinator, ReadRequest{
					Table: table, Partition: []byte("p"), Reverse: reverse, MaxRows: 1, MaxBytes: 1, Options: ReadOptions{Level: All},
				})
				if err != nil || len(got) != 1 {
					t.Errorf("reverse %v: %q, %v", reverse, got, err)
				}
			}
		})
	}
}
