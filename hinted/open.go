package hinted

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dunlindb/dunlin/hinted/form"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/storage"
)

// find rebuilds the queues: of each it reads the first segment, of which replay may
// have deleted a part, and what no summary tells of; the rest it knows by summaries.
func (h *Handoff) find() error {
	if err := h.findFloor(); err != nil {
		return err
	}
	summaries, err := h.findSummaries()
	if err != nil {
		return err
	}
	ids := map[queueID]bool{}
	for id := range summaries {
		ids[id] = true
	}
	for class := Plain; class <= Counted; class++ {
		if err := h.findQueues(class, ids); err != nil {
			return err
		}
	}
	h.mu.Lock()
	for id := range ids {
		h.queue(id)
	}
	found := h.order
	h.mu.Unlock()
	for _, q := range found {
		if err := h.fill(q, summaries[q.id]); err != nil {
			return err
		}
		h.stored[q.id.class].add(q.tally)
		if q.hints > 0 {
			h.env.Logger.Info("hints were found", "target", q.id.target, "class", q.id.class.String(),
				"hints", q.hints, "rows", q.rows, "bytes", q.bytes)
		}
	}
	return nil
}

// findSummaries reads the summaries of all queues. A queue with one that cannot be
// decoded gets none: it is read as a whole.
func (h *Handoff) findSummaries() (map[queueID][]*segment, error) {
	found, bad := map[queueID][]*segment{}, map[queueID]bool{}
	err := h.store.Scan([]byte{spaceSummaries}, []byte{spaceSummaries + 1}, func(key, value []byte) bool {
		if id, first, ok := parseKey(key[1:]); ok {
			s, err := decodeSummary(first, value)
			bad[id] = bad[id] || err != nil
			found[id] = append(found[id], s)
		}
		return true
	})
	if errors.Is(err, storage.ErrCorrupt) {
		h.env.Logger.Error("the summaries of hints are damaged; all hints are read instead", "error", err)
		return nil, h.store.Delete([]byte{spaceSummaries}, []byte{spaceSummaries + 1})
	}
	for id, is := range bad {
		if is {
			h.env.Logger.Error("a summary of hints cannot be decoded; the queue is read instead", "target", id.target, "class", id.class.String())
			delete(found, id)
			err = errors.Join(err, h.store.Delete(id.summaryKey(0), id.summaryKey(1<<64-1)))
		}
	}
	return found, err
}

// unknownSegment is a segment that cannot be read.
func unknownSegment(first, last uint64) *segment {
	return &segment{first: first, from: first, last: last, newest: time.Now().UnixMicro(), damaged: true, marks: form.Marks{Everything: true}}
}

// findQueues finds the targets that have hints of a class.
func (h *Handoff) findQueues(class Class, ids map[queueID]bool) error {
	from, to := []byte{byte(class)}, []byte{byte(class) + 1}
	for from != nil {
		var next []byte
		err := h.store.Scan(from, to, func(key, _ []byte) bool {
			id, _, ok := parseKey(key)
			if ok {
				ids[id] = true
				next = id.end()
			} else {
				next = append(append([]byte{}, key...), 0)
			}
			return false
		})
		if errors.Is(err, storage.ErrCorrupt) {
			h.env.Logger.Error("a queue of hints cannot be read; it is known by its summaries only", "class", class.String(), "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}

// fill makes the segments of a queue.
func (h *Handoff) fill(q *queue, summaries []*segment) error {
	after := uint64(0) // the tail begins after the last segment that has a summary
	for len(summaries) > 0 {
		s := summaries[0]
		read, err := h.read(q.id, 0, s.last)
		if err != nil {
			return err
		}
		if read == nil {
			after = s.last
			if err := h.erase(q.id, s); err != nil {
				return err
			}
			summaries = summaries[1:]
			continue
		}
		if read.damaged {
			s.damaged = true
		} else {
			s.tally, s.from, s.oldest, s.born = read.tally, read.first, read.oldest, read.born
		}
		break
	}
	q.segments = summaries
	if n := len(summaries); n > 0 {
		after = summaries[n-1].last
	}
	tail, err := h.read(q.id, after+1, 1<<64-2)
	if err != nil {
		return err
	}
	if tail != nil {
		q.segments = append(q.segments, tail)
	}
	for _, s := range q.segments {
		q.add(s.tally)
		if s.damaged {
			h.env.Logger.Error("a segment of hints cannot be read", "target", q.id.target, "class", q.id.class.String(),
				"since", time.UnixMicro(s.oldest), "bytes", s.bytes)
		}
	}
	if n := len(q.segments); n > 0 {
		after = q.segments[n-1].last
	}
	q.lastSeq = after
	return nil
}

// read makes a segment of the hints from first to last by reading them; nil if
// there are none. When it meets damage it returns all of the span as damaged.
func (h *Handoff) read(id queueID, first, last uint64) (*segment, error) {
	s := &segment{}
	bad := false
	err := h.store.Scan(id.key(first), id.key(last+1), func(key, value []byte) bool {
		_, seq, ok := parseKey(key)
		kept, err := form.DecodeHint(value)
		if bad = !ok || err != nil; bad {
			return false
		}
		s.add(seq, &kept, sizeOf(value, kept.Count))
		return true
	})
	if bad || errors.Is(err, storage.ErrCorrupt) {
		now := uint64(time.Now().UnixMicro())
		unknown := unknownSegment(max(first, 1), max(first, s.last, min(last, now)))
		unknown.tally = s.tally
		return unknown, nil
	}
	if err != nil || s.hints == 0 {
		return nil, err
	}
	return s, nil
}

// findFloor reads what Publish promised last.
func (h *Handoff) findFloor() error {
	var bad error
	err := h.store.Scan(keyFloor, append(keyFloor[:len(keyFloor):len(keyFloor)], 0), func(_, value []byte) bool {
		d := form.Decoder{B: value}
		version, floor := d.U8(), d.U64()
		if d.Bad || len(d.B) > 0 || version != floorVersion {
			bad = form.ErrEncoding
			return false
		}
		h.buffer.floor = hlc.Timestamp(floor)
		return true
	})
	return errors.Join(err, bad)
}

// appendFloor appends version u8 | floor i64.
func appendFloor(dst []byte, floor hlc.Timestamp) []byte {
	return binary.BigEndian.AppendUint64(append(dst, floorVersion), uint64(floor))
}
