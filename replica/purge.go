package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// fenceKey holds the fence in the meta store, 8 bytes.
const fenceKey = "replica/fence"

// RaiseFence has groups that were born at or below a timestamp refused from now on,
// for good: what they carry is here already, or anti-entropy brings it. When it
// returns, that is on disk, and whatever such groups have stored can be read. A
// lower fence changes nothing, nor does any while a change of the layout is on its
// way: no purge point may rise above what nodes that join are told to refuse.
func (r *Replica) RaiseFence(ctx context.Context, to hlc.Timestamp) error {
	return r.raiseFence(ctx, to, false)
}

// raiseFence is RaiseFence, or for a node that joins.
func (r *Replica) raiseFence(ctx context.Context, to hlc.Timestamp, joining bool) error {
	select {
	case r.raising <- struct{}{}:
		defer func() { <-r.raising }()
	case <-ctx.Done():
		return fmt.Errorf("replica: raise the fence: %w", ctx.Err())
	}
	v := r.adopted.Load()
	if frozen := v != nil && v.Ring.Change() != nil && !joining; frozen || to <= r.Fence() {
		return nil
	}
	if err := r.setFence(ctx, to); err != nil {
		return fmt.Errorf("replica: raise the fence: %w", err)
	}
	if err := r.engine.Meta().Set(fenceKey, binary.BigEndian.AppendUint64(nil, uint64(to))); err != nil {
		return fmt.Errorf("replica: raise the fence: %w", err)
	}
	r.fence.Store(int64(to))
	r.metrics.fence.Set(float64(to.Seconds()))
	return nil
}

// Fence is the timestamp at or below which groups are refused; 0 if none are.
func (r *Replica) Fence() hlc.Timestamp { return hlc.Timestamp(r.fence.Load()) }

func (r *Replica) setFence(ctx context.Context, to hlc.Timestamp) error {
	for i := range r.committers {
		err := r.engine.Between(ctx, i, func() error {
			r.committers[i].fence = to
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Replica) loadFence() error {
	b, ok, err := r.engine.Meta().Get(fenceKey)
	if err != nil || !ok {
		return err
	}
	if len(b) != 8 {
		return fmt.Errorf("%d bytes: %w", len(b), storage.ErrCorrupt)
	}
	to := hlc.Timestamp(binary.BigEndian.Uint64(b))
	r.fence.Store(int64(to))
	r.metrics.fence.Set(float64(to.Seconds()))
	return r.setFence(r.ctx, to)
}

// late refuses a part that was born at or below the fence. Other parts of its group
// may have come before the fence, on their committers.
func (p *part) late() {
	a := p.a
	if a.refuse(transport.Verdict{Code: transport.Fenced, Detail: "born at or below the fence"}) {
		a.r.metrics.lateRows.Add(float64(a.group.Count))
		a.r.late.log(a.r.env.Logger, slog.LevelWarn, "a group came later than the fence and was refused; anti-entropy carries what it held",
			"from", a.from, "rows", a.group.Count, "born", a.group.Born.Time())
	}
}

// purgeAtOnce bounds the keys that are read between two batches of a committer.
const purgeAtOnce = 64

// PurgeRows drops what may go of rows of one range, in key order, as they are now:
// each is read again where nothing else can write it. The error may be
// storage.ErrCorrupt.
func (r *Replica) PurgeRows(ctx context.Context, id token.RangeID, keys [][]byte, form record.PurgeForm) (all record.Purged, err error) {
	for len(keys) > 0 {
		some := keys[:together(keys)]
		keys = keys[len(some):]
		var done record.Purged
		c := r.engine.CommitterOf(id)
		err := r.engine.Rewrite(ctx, c, func(b *storage.Batch) error {
			if v := r.committers[c].view; v == nil || retired(v, some[0]) {
				return nil // the window is about to go, or has gone
			}
			return r.purgeRows(b, some, form, &done)
		})
		if err != nil {
			return all, fmt.Errorf("replica: purge rows of range %d: %w", id, err)
		}
		r.purged(done)
		all.Keys, all.Bytes = all.Keys+done.Keys, all.Bytes+done.Bytes
	}
	return all, nil
}

// PurgeHead drops what may go of a partition's head, if it is still what it was when
// the rows that it hides were dropped.
func (r *Replica) PurgeHead(ctx context.Context, id token.RangeID, key, was []byte, form record.PurgeForm) (done record.Purged, err error) {
	err = r.engine.Rewrite(ctx, r.engine.CommitterOf(id), func(b *storage.Batch) error {
		p, err := newPurger(r.engine, key, form)
		if err != nil {
			return err
		}
		fragment, found, err := p.read(p.rows, key)
		if err == nil && found && bytes.Equal(fragment, was) {
			p.left, err = p.canon.PurgeHead(p.left[:0], fragment)
			p.stage(b, key, fragment, err, &done)
		}
		return errors.Join(undecodable(err), p.close())
	})
	if err != nil {
		return record.Purged{}, fmt.Errorf("replica: purge a head of range %d: %w", id, err)
	}
	r.purged(done)
	return done, nil
}

// together counts the first keys that one purger reads: they are of one leaf.
func together(keys [][]byte) int {
	leaf, _ := record.LeafOf(keys[0])
	n := 1
	for ; n < min(len(keys), purgeAtOnce); n++ {
		if l, _ := record.LeafOf(keys[n]); l != leaf {
			break
		}
	}
	return n
}

func (r *Replica) purged(done record.Purged) {
	r.metrics.purgedKeys.Add(float64(done.Keys))
	r.metrics.purgedBytes.Add(float64(done.Bytes))
}

func (r *Replica) purgeRows(b *storage.Batch, keys [][]byte, form record.PurgeForm, done *record.Purged) error {
	p, err := newPurger(r.engine, keys[0], form)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err = p.row(b, key, done); err != nil {
			break
		}
	}
	return errors.Join(undecodable(err), p.close())
}

// purger reads keys as of one moment, and stages what is left of them.
type purger struct {
	rows, heads *storage.Cursor
	canon       record.Canon
	partition   []byte // that the head is of
	headKey     []byte
	left        []byte
}

// newPurger makes a purger for keys from first on, of the same leaf.
func newPurger(e *storage.Engine, first []byte, form record.PurgeForm) (*purger, error) {
	leaf, ok := record.LeafOf(first)
	if !ok {
		return nil, storage.ErrCorrupt
	}
	rows, err := e.Cursor(leaf.Bounds())
	if err != nil {
		return nil, err
	}
	heads, err := rows.Clone(leaf.Heads().Bounds())
	if err != nil {
		return nil, errors.Join(err, rows.Close())
	}
	return &purger{rows: rows, heads: heads, canon: record.Canon{Purge: form.Purge, Expired: form.Expired}}, nil
}

func (p *purger) close() error { return errors.Join(p.heads.Close(), p.rows.Close()) }

// read finds a key. The value is valid until the cursor moves.
func (p *purger) read(c *storage.Cursor, key []byte) (value []byte, found bool, err error) {
	if !c.Seek(key) || !bytes.Equal(c.Key(), key) {
		return nil, false, c.Err()
	}
	value, err = c.Value()
	return value, err == nil, err
}

// row purges one row.
func (p *purger) row(b *storage.Batch, key []byte, done *record.Purged) error {
	k, err := record.ParseKey(key)
	if err != nil {
		return err
	}
	if partition := record.PartitionOf(key, k.Suffix); p.partition == nil || !bytes.Equal(partition, p.partition) {
		p.partition = append(p.partition[:0], partition...)
		p.headKey = record.AppendHeadOf(p.headKey[:0], k.Table, partition)
		head, _, err := p.read(p.heads, p.headKey)
		if err == nil {
			err = p.canon.SetHead(head)
		}
		if err != nil {
			return err
		}
	}
	fragment, found, err := p.read(p.rows, key)
	if err != nil || !found {
		return err
	}
	p.left, err = p.canon.PurgeRow(p.left[:0], k.Suffix, fragment)
	p.stage(b, key, fragment, err, done)
	return err
}

// stage replaces a fragment by what is left of it.
func (p *purger) stage(b *storage.Batch, key, fragment []byte, err error, done *record.Purged) {
	switch {
	case err != nil || !p.canon.Loose:
		return
	case len(p.left) == 0:
		b.Delete(key)
		done.Bytes += len(key)
	default:
		b.Set(key, p.left)
	}
	done.Keys++
	// What is left may be longer: timestamps are written relative to a part that may go.
	done.Bytes += max(0, len(fragment)-len(p.left))
}

// undecodable marks what record cannot read as corrupt.
func undecodable(err error) error {
	if errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrPoison) {
		return fmt.Errorf("%w: %w", storage.ErrCorrupt, err)
	}
	return err
}
