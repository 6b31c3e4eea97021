package hinted

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/storage"
)

// reason says why a hint was dropped or refused, in metrics and logs.
type reason string

const (
	bufferFull   reason = "buffer"        // too many wait for the disk
	full         reason = "counted_bytes" // no room for more counted hints
	targetBytes  reason = "target_bytes"  // over the bound of one target
	totalBytes   reason = "total_bytes"   // over the bound of all
	tooOld       reason = "age"
	moved        reason = "moved" // the range has other replicas now, or had meanwhile
	fenced       reason = "fenced"
	unknownTable reason = "unknown_table"
	failed       reason = "failed" // the replica cannot apply it
	corrupt      reason = "corrupt"
	diskFull     reason = "disk_full"
	writeFailed  reason = "write_failed"
	stopping     reason = "stopping"
)

// repaired reports that nobody is behind for want of the hint: anti-entropy has
// carried its rows, or nothing needs them.
func (r reason) repaired() bool { return r == fenced || r == unknownTable }

// lossEvery is how often drops are logged.
const lossEvery = 10 * time.Second

// losses are drops that Env.OnDrop and the log have not heard of.
type losses struct {
	marks  map[ring.NodeID]*form.Marks
	log    map[reason]*tally
	logged time.Time
}

func newLosses() losses {
	return losses{marks: map[ring.NodeID]*form.Marks{}, log: map[reason]*tally{}}
}

// lose counts a drop, and notes its ranges for tell. h.mu is held.
func (h *Handoff) lose(target ring.NodeID, why reason, t tally, m *form.Marks) {
	h.metrics.droppedRows.WithLabelValues(string(why)).Add(float64(t.rows))
	h.metrics.droppedBytes.WithLabelValues(string(why)).Add(float64(t.bytes))
	sum := h.losses.log[why]
	if sum == nil {
		sum = &tally{}
		h.losses.log[why] = sum
	}
	sum.add(t)
	if why.repaired() {
		return
	}
	all := h.losses.marks[target]
	if all == nil {
		all = &form.Marks{}
		h.losses.marks[target] = all
	}
	all.Merge(m)
}

// tell passes drops on to Env.OnDrop, and now and then to the log.
func (h *Handoff) tell(now time.Time) {
	h.mu.Lock()
	var lost map[ring.NodeID]*form.Marks
	if len(h.losses.marks) > 0 { // else others go on writing to it
		lost, h.losses.marks = h.losses.marks, map[ring.NodeID]*form.Marks{}
	}
	log := h.losses.log
	due := len(log) > 0 && now.Sub(h.losses.logged) >= lossEvery
	if due {
		h.losses.log, h.losses.logged = map[reason]*tally{}, now
	}
	h.mu.Unlock()
	var targets []ring.NodeID
	for target := range lost {
		targets = append(targets, target)
	}
	slices.SortFunc(targets, func(a, b ring.NodeID) int { return bytes.Compare(a[:], b[:]) })
	for _, target := range targets {
		ranges, tables := lost[target].List()
		h.env.OnDrop(target, ranges, tables)
	}
	if !due {
		return
	}
	for why, t := range log {
		h.env.Logger.Warn("hints were dropped", "reason", string(why), "hints", t.hints, "rows", t.rows, "bytes", t.bytes)
	}
}

// whyNot names the reason of a failed write.
func whyNot(err error) reason {
	var full *storage.DiskFullError
	switch {
	case errors.As(err, &full):
		return diskFull
	case errors.Is(err, storage.ErrClosed):
		return stopping
	}
	return writeFailed
}
