package antientropy

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/tree"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// page is a list of keys of this node: those up to and with through, or to the
// end of the span if that is nil.
type page struct {
	through []byte
	keys    []message.KeyDigest
	names   []byte // the keys themselves, one after another
	ends    []int
}

// list digests the keys of a span that fall into chosen buckets, in key order.
func (a *AntiEntropy) list(s tree.Span, f tree.Form, c *tree.Chosen) (p page, err error) {
	at, err := a.walk(s, f, func(key, _ []byte, sum record.Digest, counts bool) bool {
		if hash := tree.KeyHash(key); counts && c.Has(hash) {
			p.keys = append(p.keys, message.KeyDigest{Hash: hash, Sum: binary.BigEndian.Uint64(sum[8:])})
			p.names = append(p.names, key...)
			p.ends = append(p.ends, len(p.names))
		}
		return len(p.keys) < keysMax
	})
	p.through = at.Through
	return p, err
}

// upTo shortens a list to the keys up to and with one.
func (p *page) upTo(through []byte) {
	p.through = through
	for n := len(p.keys); n > 0; n-- {
		from := 0
		if n > 1 {
			from = p.ends[n-2]
		}
		if bytes.Compare(p.names[from:p.ends[n-1]], through) <= 0 {
			return
		}
		p.keys, p.ends = p.keys[:n-1], p.ends[:n-1]
	}
}

// caller asks a peer: call, or ask on behalf of Step.
type caller func(ctx context.Context, to ring.NodeID, kind string, body []byte) ([]byte, error)

// pull asks a peer for rows of a span, once, and applies them. It returns when
// they are synced.
func (a *AntiEntropy) pull(ctx context.Context, call caller, from ring.NodeID, v *schema.View, born hlc.Timestamp, m *message.RowsRequest) (got message.PullAnswer, err error) {
	body, err := call(ctx, from, message.Rows, m.Encode())
	if err != nil {
		return got, fmt.Errorf("rows of leaf %+v: %w", m.Leaf, err)
	}
	answer, err := message.DecodeRowsAnswer(body)
	if err != nil {
		return got, err
	}
	groups, err := answer.Groups(m.Leaf, m.Wanted())
	if err != nil {
		return got, err
	}
	if err := a.reportConflicts(v, m.Leaf, answer.Rows); err != nil {
		return got, err
	}
	if answer.Through != nil && bytes.Compare(answer.Through, m.After) <= 0 {
		return got, fmt.Errorf("%w: it does not go on", message.ErrMessage)
	}
	got.Through = answer.Through
	for i := range groups {
		groups[i].Version, groups[i].Born = v.Version, born
		got.Rows += uint64(groups[i].Count)
		got.Bytes += uint64(len(groups[i].Entries))
	}
	if err := a.apply(ctx, from, groups); err != nil {
		return got, err
	}
	a.count(m.Leaf.Table, got)
	return got, nil
}

// reportConflicts counts rows of a table that is only appended to which a peer has
// with another payload.
func (a *AntiEntropy) reportConflicts(v *schema.View, l record.Leaf, rows []byte) error {
	t := v.Table(l.Table)
	if t == nil || !t.AppendOnly || l.Space == record.SpaceHeads {
		return nil
	}
	n, example, err := tree.Conflicts(a.env.Engine, l, rows)
	if n > 0 {
		a.metrics.conflicts.Add(float64(n))
		a.env.Logger.Warn("rows with one id have different payloads; the later write is kept",
			"table", t.FullName(), "partition", string(example), "rows", n)
	}
	return err
}

// apply applies groups as any write, and waits for them all, whatever happens.
func (a *AntiEntropy) apply(ctx context.Context, from ring.NodeID, groups []transport.Group) error {
	done := make(verdicts, len(groups))
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(a.cfg.CallTimeout)
	}
	for i, g := range groups {
		a.env.Replica.Apply(from, g, deadline, done, uint32(i))
	}
	var failed error
	for range groups {
		if v := <-done; v.Code != transport.OK && failed == nil {
			failed = fmt.Errorf("antientropy: apply what was pulled: %w", v.Err())
		}
	}
	return failed
}

// verdicts is a sink with room for all that it will hear.
type verdicts chan transport.Verdict

// Done takes a verdict.
func (c verdicts) Done(_ uint32, v transport.Verdict) { c <- v }

// count adds what was pulled to the counters.
func (a *AntiEntropy) count(table uint32, got message.PullAnswer) {
	a.metrics.rowsPulled.Add(float64(got.Rows))
	a.metrics.bytePulled.Add(float64(got.Bytes))
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pulled[table]
	a.pulled[table] = pulled{p.rows + got.Rows, p.bytes + got.Bytes}
}
