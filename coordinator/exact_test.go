package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// mutation is one fragment of a row, or of the partition's head.
type mutation struct {
	number int // row
	row    *record.Row
	head   *record.Head
}

const modelRows = 40

// drawMutation draws any kind of write: values, expiring ones, deletions of rows,
// of ranges of rows, of the partition.
func drawMutation(rt *rapid.T, tb testing.TB, t *schema.TableView, now int64) mutation {
	m := mutation{number: rapid.IntRange(0, modelRows-1).Draw(rt, "row")}
	timestamp := rapid.Int64Range(1, 20).Draw(rt, "timestamp")
	deletion := record.Deletion{Timestamp: timestamp, Seconds: 5}
	switch rapid.IntRange(0, 9).Draw(rt, "kind") {
	case 0, 1:
		m.row = &record.Row{Deletion: deletion}
	case 2:
		m.row = valueRow(timestamp, "expiring")
		m.row.Cells[0].TTL, m.row.Cells[0].Expiry = 10, now+rapid.SampledFrom([]int64{-9, 3600}).Draw(rt, "expiry")
		m.row.Liveness = record.Liveness{}
	case 3:
		first := rapid.IntRange(0, modelRows-1).Draw(rt, "first")
		last := rapid.IntRange(first, modelRows-1).Draw(rt, "last")
		m.head = &record.Head{Ranges: []record.RangeTombstone{{
			Start: suffixOf(tb, t, first), End: record.AppendBoundAbove(suffixOf(tb, t, last)), Deletion: deletion,
		}}}
	case 4:
		deletion.Timestamp = min(timestamp, 3)
		m.head = &record.Head{Deletion: deletion}
	default:
		m.row = valueRow(timestamp, fmt.Sprintf("%0*d", rapid.IntRange(1, 30).Draw(rt, "size"), timestamp))
	}
	return m
}

// to applies the mutation to a replica.
func (m mutation) to(tb testing.TB, n *node, t *schema.TableView) {
	if m.head != nil {
		n.localHead(t, "p", m.head)
		return
	}
	n.local(tb, t, "p", m.number, m.row)
}

// placed is a mutation and the replicas that have it.
type placed struct {
	mutation
	on []int
}

// behaviour is how a replica behaves during a read.
type behaviour struct {
	delay       time.Duration
	hangs, fail bool
}

// TestReadsAreExact: replicas that differ in every way, slow, hanging and failing
// ones, pages of any size in both directions: what is read is exactly the merge of
// all replicas.
func TestReadsAreExact(t *testing.T) {
	view := testView(t, 3, 3, 1)
	table := view.Table(testTable)
	bubble := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix() // where virtual time begins
	rapid.Check(t, func(rt *rapid.T) {
		level := rapid.SampledFrom([]Level{All, Quorum}).Draw(rt, "level")
		least := 1
		if level == Quorum {
			least = 2 // any two replicas have every mutation
		}
		var history []placed
		for range rapid.IntRange(0, 120).Draw(rt, "mutations") {
			history = append(history, placed{
				mutation: drawMutation(rt, t, table, bubble),
				on:       rapid.SliceOfNDistinct(rapid.IntRange(0, 2), least, 3, rapid.ID[int]).Draw(rt, "on"),
			})
		}
		replicas := make([]behaviour, 3)
		for i := range replicas {
			replicas[i].delay = time.Duration(rapid.SampledFrom([]int{0, 1, 49, 80, 500}).Draw(rt, "delay")) * time.Millisecond
		}
		if bad := rapid.IntRange(0, 8).Draw(rt, "bad"); level == Quorum && bad < 3 {
			replicas[bad].hangs = rapid.Bool().Draw(rt, "hangs")
			replicas[bad].fail = !replicas[bad].hangs
		}
		req := ReadRequest{
			Table: table, Partition: []byte("p"), Options: ReadOptions{Level: level, Timeout: time.Minute},
			Reverse:  rapid.Bool().Draw(rt, "reverse"),
			MaxRows:  rapid.IntRange(1, 20).Draw(rt, "limit"),
			MaxBytes: rapid.SampledFrom([]int{1, 100, 1000, 1 << 20}).Draw(rt, "bytes"),
		}
		if rapid.Bool().Draw(rt, "start") {
			req.Start = suffixOf(t, table, rapid.IntRange(0, modelRows).Draw(rt, "from"))
		}
		if rapid.Bool().Draw(rt, "end") {
			req.End = suffixOf(t, table, rapid.IntRange(0, modelRows).Draw(rt, "to"))
		}
		model := &node{rows: map[string][]byte{}}
		for _, m := range history {
			m.to(t, model, table)
		}
		want := visible(rt, model, table, &req, bubble)
		var got []string
		var err error
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil)
			for i, n := range cl.nodes {
				for _, m := range history {
					if slices.Contains(m.on, i) {
						m.to(t, n, table)
					}
				}
				n.delay, n.hangs = replicas[i].delay, replicas[i].hangs
				if replicas[i].fail {
					n.refuses = &transport.Verdict{Code: transport.Failed}
				}
			}
			got, err = readPages(t.Context(), cl.nodes[0].coordinator, req)
		})
		if err != nil || !slices.Equal(got, want) {
			rt.Fatalf("%v; read\n%q\nwant\n%q", err, got, want)
		}
	})
}

// visible reads the model in one go.
func visible(rt *rapid.T, model *node, t *schema.TableView, req *ReadRequest, now int64) []string {
	a := model.slice(t, &transport.ReadRequest{
		Partition: req.Partition, Start: req.Start, End: req.End, Reverse: req.Reverse, MaxRows: 1 << 30, MaxBytes: 1 << 30, Now: now,
	})
	var head record.Head
	if len(a.Head) > 0 {
		if err := record.DecodeHead(a.Head, &head); err != nil {
			rt.Fatal(err)
		}
	}
	var rows []string
	for rest := a.Rows; len(rest) > 0; {
		suffix, fragment, next, err := record.NextEntry(rest)
		var row record.Row
		if err != nil || record.DecodeRow(fragment, &row) != nil {
			rt.Fatal("the model's rows cannot be read")
		}
		if row.Visible(head.ShadowAt(suffix), now) {
			rows = append(rows, fmt.Sprintf("%x %x", suffix, row.Append(nil)))
		}
		rest = next
	}
	return rows
}

// readPages reads page by page to the end.
func readPages(ctx context.Context, c *Coordinator, req ReadRequest) ([]string, error) {
	var rows []string
	for {
		result, err := c.Read(ctx, &req)
		if err != nil {
			return rows, err
		}
		if len(result.Rows) > req.MaxRows {
			return rows, fmt.Errorf("%d rows in a page of %d", len(result.Rows), req.MaxRows)
		}
		for _, row := range result.Rows {
			rows = append(rows, fmt.Sprintf("%x %x", row.Suffix, row.Row.Append(nil)))
		}
		if !result.More {
			return rows, nil
		}
		if len(result.Rows) == 0 {
			return rows, errors.New("an empty page says that there is more")
		}
		last := result.Rows[len(result.Rows)-1].Suffix
		if req.Reverse {
			req.End = last
		} else {
			req.Start = append(bytes.Clone(last), 0)
		}
	}
}

// TestPageGoesOnWithAll: replicas agree on a first page that is all tombstones, and
// differ after it.
func TestPageGoesOnWithAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		table := cl.current().Table(testTable)
		for i := range 10 {
			for _, n := range cl.nodes {
				n.local(t, table, "p", i, &record.Row{Deletion: record.Deletion{Timestamp: 5, Seconds: 1}})
			}
		}
		cl.nodes[1].local(t, table, "p", 10, valueRow(7, "second replica"))
		cl.nodes[2].local(t, table, "p", 11, valueRow(7, "third replica"))
		for i, n := range cl.nodes {
			cl.nodes[(i+1)%3].behave(func(n *node) { n.delay = time.Millisecond })
			result, err := n.coordinator.Read(t.Context(), &ReadRequest{
				Table: table, Partition: []byte("p"), MaxRows: 5, MaxBytes: 100, Options: ReadOptions{Level: All},
			})
			if err != nil || len(result.Rows) != 2 || result.More {
				t.Errorf("node %d: %d rows, more %t, %v; want the rows of both", i, len(result.Rows), result.More, err)
			}
		}
	})
}

// TestEqualRowsOfDifferentEnds: two replicas answer the same row, but one of them was
// cut off there by the limit and has another one.
func TestEqualRowsOfDifferentEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, 3, nil)
		table := cl.current().Table(testTable)
		for _, n := range cl.nodes {
			n.local(t, table, "p", 1, valueRow(7, "on all"))
		}
		cl.nodes[1].local(t, table, "p", 2, valueRow(7, "on one"))
		for i, n := range cl.nodes {
			result, err := n.coordinator.Read(t.Context(), &ReadRequest{
				Table: table, Partition: []byte("p"), MaxRows: 1, Options: ReadOptions{Level: All},
			})
			if err != nil || len(result.Rows) != 1 || !result.More {
				t.Errorf("node %d: %d rows, more %t, %v; want one row and more", i, len(result.Rows), result.More, err)
			}
		}
	})
}
