package rebalance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/rebalance/stream"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

const (
	// fillBatch is how many ranges a step fills until it persists which they were.
	fillBatch = 128
	// fillFor is how long a step goes on to begin ranges.
	fillFor = 20 * time.Second
	// filledKey is where it is persisted which ranges were filled.
	filledKey = "rebalance/filled"
)

// filled is what was pulled for a change, persisted as JSON.
type filled struct {
	Change uint64            `json:"change"`
	Rows   uint64            `json:"rows"`
	Bytes  uint64            `json:"bytes"`
	Done   map[string][]byte `json:"done"` // by keyspace: a bit for each range
}

func (f *filled) has(t stream.Target) bool {
	bits := f.Done[t.Keyspace]
	return f.Change == t.Change && len(bits) > int(t.Range/8) && bits[t.Range/8]>>(t.Range%8)&1 == 1
}

func (f *filled) add(t stream.Target) {
	if f.Done[t.Keyspace] == nil {
		f.Done[t.Keyspace] = make([]byte, token.Ranges/8)
	}
	f.Done[t.Keyspace][t.Range/8] |= 1 << (t.Range % 8)
}

// filling is how far the ranges that are new here were filled.
type filling struct {
	mu     sync.Mutex // guards the fields below
	filled filled
	// left were tried in vain and are left to anti-entropy, which can do without the
	// one replica that they were asked of.
	left map[stream.Target]bool
}

// begun reports whether a range needs no filling: it was done, or given up.
func (f *filling) begun(t stream.Target) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.filled.has(t) || f.left[t]
}

func (f *filling) leave(t stream.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left[t] = true
}

// did counts a target that is filled.
func (f *filling) did(t stream.Target, got stream.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filled.add(t)
	f.filled.Rows, f.filled.Bytes = f.filled.Rows+got.Rows, f.filled.Bytes+got.Bytes
}

// pulled is what was filled for a change so far, targets that are not done included.
func (f *filling) pulled(change uint64, all []stream.Progress) (rows, bytes uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filled.Change == change {
		rows, bytes = f.filled.Rows, f.filled.Bytes
	}
	for _, p := range all {
		if p.Change == change && !f.filled.has(p.Target) {
			rows, bytes = rows+p.Rows, bytes+p.Bytes
		}
	}
	return rows, bytes
}

// Fill pulls ranges that are new to this node from replicas that have them, in bulk;
// anti-entropy brings what that misses, and decides when they are complete. It is a
// job of its own, beside Step.
func (d *Driver) Fill(ctx context.Context) (idle bool, err error) {
	v := d.env.Replica.View()
	if v == nil {
		return true, nil
	}
	c := v.Ring.Change()
	if c == nil || c.Phase != ring.Streaming {
		return true, d.forget(c)
	}
	if err := d.resume(c.ID); err != nil {
		return true, err
	}
	work := d.unfilled(v, c)
	if len(work) == 0 {
		return true, nil
	}
	return false, d.fillAll(ctx, v, work)
}

// Awaits reports whether a range of a keyspace is new to this node and has yet to be
// filled in bulk: until then it need not be compared.
func (d *Driver) Awaits(v *schema.View, keyspace string, id token.RangeID) bool {
	c := v.Ring.Change()
	if c == nil || c.Phase != ring.Streaming {
		return false
	}
	t := stream.Target{Keyspace: keyspace, Range: id, Change: c.ID}
	return d.planned(v).gains[t] && !d.filling.begun(t)
}

// pull is a range to be filled, and where from.
type pull struct {
	target stream.Target
	from   ring.NodeID
}

// unfilled lists ranges that are new here and not filled, as many as a step takes.
func (d *Driver) unfilled(v *schema.View, c *ring.Change) (work []pull) {
	var s State
	for _, one := range d.open(v, &s) {
		t := stream.Target{Keyspace: one.keyspace, Range: one.id, Change: c.ID}
		if one.keeps || d.filling.begun(t) || len(work) > 0 && work[len(work)-1].target == t {
			continue
		}
		if work = append(work, pull{t, one.peer}); len(work) == fillBatch {
			break
		}
	}
	return work
}

// fillAll fills ranges side by side, and persists which of them are done.
func (d *Driver) fillAll(ctx context.Context, v *schema.View, work []pull) error {
	queue := make(chan pull, len(work))
	for _, p := range work {
		queue <- p
	}
	close(queue)
	until := time.Now().Add(fillFor)
	var done sync.WaitGroup
	for range d.cfg.Stream.Filling {
		done.Go(func() {
			for p := range queue {
				if now := d.env.Replica.View(); ctx.Err() != nil || time.Now().After(until) || now.Version != v.Version {
					return
				}
				d.fill(ctx, p)
			}
		})
	}
	done.Wait()
	return d.record()
}

// fill fills one range. What fails is left to anti-entropy, unless that passes.
func (d *Driver) fill(ctx context.Context, p pull) {
	err := errors.New("it is not alive")
	if d.env.Alive(p.from) {
		err = d.sink.Fill(ctx, p.from, p.target)
	}
	if ctx.Err() != nil || errors.Is(err, stream.ErrStale) || errors.Is(err, stream.ErrFilling) {
		return // again by the next version, or in the next step
	}
	if err != nil {
		d.env.Logger.Debug("a range is left to anti-entropy", "range", p.target.Range, "keyspace", p.target.Keyspace, "from", p.from, "error", err)
		d.metrics.unfilled.Inc()
		d.filling.leave(p.target)
		return
	}
	got, err := d.sink.Forget(p.target)
	if err != nil {
		d.env.Logger.Warn("how far a range is filled stays behind", "range", p.target.Range, "error", err)
	}
	d.metrics.filled.Inc()
	d.filling.did(p.target, got)
}

// resume finds out what was filled for a change before a restart.
func (d *Driver) resume(change uint64) error {
	f := &d.filling
	f.mu.Lock()
	known := f.filled.Change == change
	f.mu.Unlock()
	if known {
		return nil
	}
	b, ok, err := d.env.Meta.Get(filledKey)
	if err != nil {
		return fmt.Errorf("rebalance: read what was filled: %w", err)
	}
	was := filled{}
	if ok && len(b) > 0 {
		if err := json.Unmarshal(b, &was); err != nil {
			d.env.Logger.Warn("what was filled is not known any more; it is filled again", "error", err)
		}
	}
	if was.Change != change || was.Done == nil {
		was = filled{Change: change, Done: map[string][]byte{}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filled, f.left = was, map[stream.Target]bool{}
	return nil
}

// record persists which ranges are filled.
func (d *Driver) record() error {
	d.filling.mu.Lock()
	b, err := json.Marshal(&d.filling.filled)
	d.filling.mu.Unlock()
	if err == nil {
		err = d.env.Meta.Set(filledKey, b)
	}
	if err != nil {
		return fmt.Errorf("rebalance: persist what was filled: %w", err)
	}
	return nil
}

// forget drops what is known of fillings that are over.
func (d *Driver) forget(now *ring.Change) (err error) {
	for _, p := range d.sink.Progress() {
		if now == nil || p.Change != now.ID {
			_, failed := d.sink.Forget(p.Target)
			err = errors.Join(err, failed)
		}
	}
	return err
}
