package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/replica"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// holder is a node whose replicas can be looked at: *node.Node.
type holder interface {
	Self() ring.NodeID
	View() *schema.View
	Replica() *replica.Replica
	PurgePoint(keyspace string, id token.RangeID) int64
	Hints() admin.Hints
}

// place is what replicas must agree on.
type place struct {
	table uint32
	id    token.RangeID
}

// content is what one node holds of a place, in canonical form: the rows, and a
// digest of all of them that does not depend on their order.
type content struct {
	rows int
	sum  record.Digest
}

// holders are the nodes that are up, by machine.
func (c *Cluster) holders() []holder {
	var up []holder
	for _, m := range c.machines {
		m.turn <- struct{}{}
		if m.boot != nil && !m.absent.Load() {
			if h, ok := m.boot.node.(holder); ok && h.View() != nil {
				up = append(up, h)
			}
		}
		<-m.turn
	}
	return up
}

// awaitEqual waits until all replicas of everything hold the same, at most for a
// patience. It returns how long that took, and what still differs.
func (c *Cluster) awaitEqual(patience time.Duration) (took time.Duration, differing []string) {
	for began := time.Now(); ; time.Sleep(5 * time.Second) {
		differing = c.differences()
		took = time.Since(began)
		if len(differing) == 0 || took > patience {
			return took, differing
		}
	}
}

// differences compares the replicas of every place on the nodes that are up.
func (c *Cluster) differences() (differing []string) {
	type held struct {
		node ring.NodeID
		content
	}
	found := map[place][]held{}
	up := c.holders()
	for _, h := range up {
		contents, err := contentsOf(h, func(keyspace string, id token.RangeID) (point int64) {
			for _, other := range up { // the larger point of two sides counts
				point = max(point, other.PurgePoint(keyspace, id))
			}
			return point
		})
		if err != nil {
			return []string{err.Error()}
		}
		for at, what := range contents {
			found[at] = append(found[at], held{h.Self(), what})
		}
	}
	for at, all := range found {
		for _, h := range all[1:] {
			if h.content != all[0].content {
				differing = append(differing, fmt.Sprintf("table %d, range %d: node %.4s has %d rows, node %.4s %d, or other ones",
					at.table, at.id, all[0].node, all[0].rows, h.node, h.rows))
				break
			}
		}
	}
	slices.Sort(differing)
	return differing
}

// awaitDrained waits until no node keeps hints, at most for a patience. It returns
// what is left.
func (c *Cluster) awaitDrained(patience time.Duration) (left string) {
	for began := time.Now(); ; time.Sleep(time.Second) {
		left = ""
		for _, h := range c.holders() {
			for _, t := range h.Hints().Targets {
				if n := t.Plain.Hints + t.Counted.Hints; n > 0 {
					left = fmt.Sprintf("node %s keeps %d hints for node %s: %+v", h.Self(), n, t.Node, t)
				}
			}
		}
		if left == "" || time.Since(began) > patience {
			return left
		}
	}
}

// contentsOf reads everything that a node holds as a replica, as seen at purge points.
func contentsOf(h holder, point func(keyspace string, id token.RangeID) int64) (map[place]content, error) {
	v, contents := h.View(), map[place]content{}
	self, _ := v.Ring.Index(h.Self())
	for _, t := range v.Tables() {
		for id := range token.RangeID(token.Ranges) {
			if !v.Ring.Holds(t.Placement, id, self) {
				continue
			}
			what, err := contentOf(h, v, t, id, point(t.Keyspace, id))
			if err != nil {
				return nil, fmt.Errorf("node %s, table %d, range %d: %w", h.Self(), t.ID, id, err)
			}
			contents[place{t.ID, id}] = what
		}
	}
	return contents, nil
}

func contentOf(h holder, v *schema.View, t *schema.TableView, id token.RangeID, point int64) (content, error) {
	var what content
	canon := record.Canon{Purge: point}
	add := func(sum record.Digest, ok bool) {
		if ok {
			what.rows++
			for i := range sum {
				what.sum[i] ^= sum[i]
			}
		}
	}
	q := &transport.ScanRequest{Version: v.Version, Table: t.ID, Range: id, MaxRows: 10_000, MaxBytes: 8 << 20}
	for {
		a := h.Replica().Scan(context.Background(), h.Self(), q)
		if a.Verdict.Code != transport.OK {
			return what, a.Verdict.Err()
		}
		if err := contentOfPage(&canon, t, &a, add); err != nil {
			return what, err
		}
		if !a.More {
			return what, nil
		}
		q.After = a.Next
	}
}

// contentOfPage digests a page of a scan: rows behind the head of their partition.
func contentOfPage(canon *record.Canon, t *schema.TableView, a *transport.ScanAnswer, add func(record.Digest, bool)) error {
	heads := map[string][]byte{}
	for rest := a.Partitions; len(rest) > 0; {
		partition, head, next, err := record.NextEntry(rest)
		if err != nil {
			return err
		}
		heads[string(partition)], rest = head, next
		if len(head) > 0 {
			sum, ok, err := canon.Head(t.Shape.AppendHeadKey(nil, token.Of(partition), partition), head)
			if err != nil {
				return err
			}
			add(sum, ok)
		}
	}
	for rest := a.Rows; len(rest) > 0; {
		key, fragment, next, err := record.NextEntry(rest)
		if err != nil {
			return err
		}
		k, err := record.ParseKey(key)
		if err != nil {
			return err
		}
		if err := canon.SetHead(heads[string(k.Partition)]); err != nil {
			return err
		}
		sum, ok, err := canon.Row(key, k.Suffix, fragment)
		if err != nil {
			return err
		}
		add(sum, ok)
		rest = next
	}
	return nil
}
