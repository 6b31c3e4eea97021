package message

import (
	"encoding/binary"

	"github.com/dunlindb/dunlin/hlc"
)

// PurgeState is what a node says of itself so that others know how far they may
// purge, as a question and as the answer to it.
type PurgeState struct {
	Epoch Epoch
	Floor hlc.Timestamp // no counted hint that was born at or below it is or will be held
	Fence hlc.Timestamp // groups that were born at or below it are refused
	Hold  hlc.Timestamp // the oldest group that is held for the other node was born then; 0: none
	// Targets are shared with the other node, all of them; an answer has none, and
	// follows the question's. Levels has one for each: every group born at or below
	// it that ever reached this node has reached all other replicas.
	Targets []Target
	Levels  []hlc.Timestamp
}

// Encode returns the message.
func (m *PurgeState) Encode() []byte {
	b := m.Epoch.append([]byte{messageVersion})
	for _, ts := range [...]hlc.Timestamp{m.Floor, m.Fence, m.Hold} {
		b = binary.BigEndian.AppendUint64(b, uint64(ts))
	}
	b = binary.AppendUvarint(b, uint64(len(m.Targets)))
	for _, t := range m.Targets {
		b = t.append(b)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Levels)))
	for _, ts := range m.Levels {
		b = binary.BigEndian.AppendUint64(b, uint64(ts))
	}
	return b
}

// DecodePurgeState reads the message; the error is ErrMessage.
func DecodePurgeState(b []byte) (m PurgeState, err error) {
	r := newReader(b)
	m.Epoch = r.epoch()
	for _, ts := range [...]*hlc.Timestamp{&m.Floor, &m.Fence, &m.Hold} {
		*ts = r.timestamp()
	}
	for range r.count(2) {
		m.Targets = append(m.Targets, r.target())
	}
	for range r.count(8) {
		m.Levels = append(m.Levels, r.timestamp())
	}
	return m, r.end()
}

func (r *reader) timestamp() hlc.Timestamp {
	ts := hlc.Timestamp(r.uint64())
	r.bad = r.bad || ts < 0
	return ts
}
