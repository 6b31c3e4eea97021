package coordinator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/coordinator/quorum"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// digest is what a node says of the whole partition p.
func (n *node) digest(t *schema.TableView) record.Digest {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.slice(t, &transport.ReadRequest{Partition: []byte("p"), MaxRows: 1 << 20, MaxBytes: 1 << 30})
	return digestOf(&a)
}

// scatter puts random fragments of partition p on replicas, each on some of them.
func scatter(t *testing.T, cl *cluster, nodes []*node, seed uint64) {
	table, random := cl.current().Table(testTable), rand.New(rand.NewPCG(seed, 1))
	for range 1 + random.IntN(30) {
		at, number := int64(1+random.IntN(20)), random.IntN(8)
		on := 1 + random.IntN(7)
		for i, n := range nodes {
			if on>>i&1 == 0 {
				continue
			}
			switch random.IntN(8) {
			case 0:
				n.local(t, table, "p", number, &record.Row{Deletion: record.Deletion{Timestamp: at, Seconds: 1}})
			case 1:
				n.localHead(table, "p", &record.Head{Deletion: record.Deletion{Timestamp: at / 2, Seconds: 1}})
			case 2:
				n.localHead(table, "p", &record.Head{Ranges: []record.RangeTombstone{{
					Start: suffixOf(t, table, number), End: suffixOf(t, table, number+2), Deletion: record.Deletion{Timestamp: at, Seconds: 1},
				}}})
			case 3:
				row := valueRow(at, "brief")
				row.Liveness.TTL, row.Liveness.Expiry = 10, time.Now().Unix()+int64(random.IntN(3)-1)*100
				row.Cells[0].TTL, row.Cells[0].Expiry = row.Liveness.TTL, row.Liveness.Expiry
				n.local(t, table, "p", number, row)
			default:
				n.local(t, table, "p", number, valueRow(at, fmt.Sprint("v", at)))
			}
		}
	}
}

// TestReadRepairMakesReplicasEqual: after a read of everything at all, replicas
// hold the same; a second read repairs nothing.
func TestReadRepairMakesReplicasEqual(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil)
			scatter(t, cl, cl.nodes, seed)
			table, reader := cl.current().Table(testTable), cl.nodes[0]
			first, err := reader.read(t, All, "p")
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, n := range cl.nodes[1:] {
				if n.digest(table) != reader.digest(table) {
					t.Fatalf("seed %d: node %s differs after a read at all", seed, n.id)
				}
			}
			sent := testutil.ToFloat64(reader.coordinator.metrics.repairedRows)
			for _, n := range cl.nodes {
				if again, err := n.read(t, One, "p"); err != nil || !maps.Equal(again, first) {
					t.Fatalf("seed %d: %v at node %s, %v before: %v", seed, again, n.id, first, err)
				}
			}
			if _, err := reader.read(t, All, "p"); err != nil || testutil.ToFloat64(reader.coordinator.metrics.repairedRows) != sent {
				t.Fatalf("seed %d: equal replicas were repaired: %v", seed, err)
			}
		})
	})
}

// TestQuorumReadsAreMonotonic: what a quorum read has answered, a page of any
// size in either direction, every later quorum read answers too, whichever replica
// fails, though the third replica never heard of any of it.
func TestQuorumReadsAreMonotonic(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed, missing := rapid.Uint64().Draw(rt, "seed"), rapid.IntRange(0, 2).Draw(rt, "missing")
		reverse, limit := rapid.Bool().Draw(rt, "reverse"), rapid.IntRange(1, 6).Draw(rt, "limit")
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil)
			scatter(t, cl, []*node{cl.nodes[(missing+1)%3], cl.nodes[(missing+2)%3]}, seed)
			table := cl.current().Table(testTable)
			read := func(down, limit int) map[int]string {
				cl.nodes[down].behave(func(n *node) { n.dead = true })
				defer cl.nodes[down].behave(func(n *node) { n.dead = false })
				result, err := cl.nodes[(down+1)%3].coordinator.Read(t.Context(), &ReadRequest{
					Table: table, Partition: []byte("p"), Reverse: reverse, MaxRows: limit, Options: ReadOptions{Level: Quorum},
				})
				if err != nil {
					t.Fatal(err)
				}
				return numbers(t, table, result.Rows)
			}
			first := read(missing, limit)
			for down := range 3 {
				again := read(down, 0)
				for number, value := range first {
					if got, ok := again[number]; !ok || got != value {
						t.Fatalf("seed %d: row %d was %q, is %q without node %d", seed, number, value, got, down)
					}
				}
			}
		})
	})
}

// TestWhatWasShownStaysWhileOwnersChange: what a quorum of the old replicas has shown
// before the flip, acknowledged or not, every quorum read shows afterwards, whichever node
// is down: the new replica need not have it yet. In the end it does, and the old one is
// not asked any more.
func TestWhatWasShownStaysWhileOwnersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		views := joinViews(t, 4)
		cl := newCluster(t, 4, 3, nil)
		const joiner = 3
		partition, leaver := "", uint16(0)
		for i := 0; partition == ""; i++ { // one of which the joiner displaces a replica
			name := fmt.Sprint("p", i)
			if l := views[1].Ring.Leaving(views[1].Table(testTable).Placement, token.Of([]byte(name)).Range()); len(l) == 1 {
				partition, leaver = name, l[0]
			}
		}
		index := map[ring.NodeID]int{}
		for i, n := range cl.nodes {
			index[n.id] = i
		}
		old := index[views[1].Ring.Member(leaver).ID]
		other := (old + 1) % 3 // with the one that leaves, a quorum of those before
		key := rowKey(t, views[0].Table(testTable), partition, 1)
		row := record.Row{Cells: []record.Cell{{Column: testColumn, Timestamp: 5, Value: []byte("shown")}}}
		for _, i := range []int{old, other} {
			cl.nodes[i].merge(key, row.Append(nil))
		}
		read := func(v *schema.View, down int) string {
			cl.adopt(v)
			cl.nodes[down].behave(func(n *node) { n.dead = true })
			defer cl.nodes[down].behave(func(n *node) { n.dead = false })
			got, err := cl.nodes[(down+1)%4].read(t, Quorum, partition)
			if err != nil {
				t.Fatalf("version %d without node %d: %v", v.Version, down, err)
			}
			return got[1]
		}
		if got := read(views[0], 3-old-other); got != "shown" {
			t.Fatalf("before the flip: %q", got)
		}
		if _, has := cl.nodes[joiner].stored()[string(key)]; has {
			t.Fatal("the new replica has it: there is nothing to find out")
		}
		for _, down := range []int{other, 3 - old - other, old, joiner} {
			if got := read(views[1], down); got != "shown" {
				t.Errorf("once flipped, without node %d: %q", down, got)
			}
		}
		for _, i := range []int{old, joiner} { // those that stay are enough
			cl.nodes[i].behave(func(n *node) { n.dead = true })
		}
		if got, err := cl.nodes[other].read(t, Quorum, partition); err != nil || got[1] != "shown" {
			t.Errorf("of those that stay: %q, %v", got[1], err)
		}
		for _, i := range []int{old, joiner} {
			cl.nodes[i].behave(func(n *node) { n.dead = false })
		}
		before := cl.nodes[old].reads
		for _, down := range []int{other, 3 - old - other, joiner} {
			if got := read(views[2], down); got != "shown" {
				t.Errorf("when it is finished, without node %d: %q", down, got)
			}
		}
		if cl.nodes[old].reads != before {
			t.Error("a node that has left the range is asked")
		}
	})
}

// TestBlockingRepairThatFailsIsATimeout: an answer would promise more than a
// second read could keep. The repair becomes a hint.
func TestBlockingRepairThatFailsIsATimeout(t *testing.T) {
	for _, mode := range []schema.Repair{"", schema.RepairBlocking, schema.RepairAsync, schema.RepairOff} {
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil)
			table := cl.current().Table(testTable)
			table.ReadRepair = mode
			for _, n := range cl.nodes[:2] {
				n.local(t, table, "p", 1, valueRow(10, "old"))
			}
			cl.nodes[0].local(t, table, "p", 1, valueRow(20, "new"))
			cl.nodes[2].behave(func(n *node) { n.dead = true })
			reader := cl.nodes[0]
			cl.nodes[1].behave(func(n *node) { n.readOnly = true })
			got, err := reader.read(t, Quorum, "p")
			synctest.Wait()
			blocking := mode == "" || mode == schema.RepairBlocking
			var timeout *TimeoutError
			if blocking && (!errors.As(err, &timeout) || timeout.Need != 2 || timeout.Got != 1 || timeout.Write) {
				t.Errorf("%s: %v, %v", mode, got, err)
			}
			if !blocking && (err != nil || got[1] != "new") {
				t.Errorf("%s: %v, %v", mode, got, err)
			}
			if kept := reader.kept[cl.nodes[1].id]; (kept == 1) != (mode != schema.RepairOff) {
				t.Errorf("%s: %d hints", mode, kept)
			}
			cl.nodes[1].behave(func(n *node) { n.readOnly = false })
			if got, err := reader.read(t, Quorum, "p"); err != nil || got[1] != "new" {
				t.Errorf("%s: when the replica is well again: %v, %v", mode, got, err)
			}
			synctest.Wait()
			if equal := cl.nodes[0].digest(table) == cl.nodes[1].digest(table); equal == (mode == schema.RepairOff) {
				t.Errorf("%s: equal %v", mode, equal)
			}
			if n := reader.coordinator.admission.Open(); n != 0 {
				t.Errorf("%s: %d tasks are open", mode, n)
			}
		})
	}
}

// TestRepairBeyondTheLevelIsNotWaitedFor: enough replicas are equal already; the
// one that is behind was asked because another was slow.
func TestRepairBeyondTheLevelIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &repair{need: 2, equals: quorum.NewEquals(2, 3), wake: make(chan struct{}, 1)}
		p.equals.Has()
		p.equals.Has()
		p.equals.Lacks(2, 1, false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := p.wait(ctx); err != nil || time.Since(start) != 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// TestConflictsAreCounted: one id with two payloads, in a table that is only
// appended to, is counted and not an error.
func TestConflictsAreCounted(t *testing.T) {
	for _, appendOnly := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			cl := newCluster(t, 3, 3, nil)
			table := cl.current().Table(testTable)
			table.AppendOnly = appendOnly
			for i, n := range cl.nodes {
				n.local(t, table, "p", 1, valueRow(int64(10+i), fmt.Sprint("payload ", i)))
				n.local(t, table, "p", 2, valueRow(int64(10+i), "written again"))
			}
			if got, err := cl.nodes[0].read(t, All, "p"); err != nil || got[1] != "payload 2" {
				t.Fatal(got, err)
			}
			want := 0.0
			if appendOnly {
				want = 1
			}
			if n := testutil.ToFloat64(cl.nodes[0].coordinator.metrics.conflicts); n != want {
				t.Errorf("append only %v: %v conflicts", appendOnly, n)
			}
		})
	}
}
