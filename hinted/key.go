package hinted

import (
	"bytes"
	"encoding/binary"

	"github.com/dunlindb/dunlin/ring"
)

// Class is what a hint is for.
type Class uint8

// The classes; their numbers are part of the stored keys.
const (
	Plain   Class = 1 // helps convergence
	Counted Class = 2 // made an acknowledgement true
)

// String returns the class's name, as metrics have it.
func (c Class) String() string {
	if c == Counted {
		return "counted"
	}
	return "plain"
}

// Keys are class u8 | target | sequence u64 for hints, spaceSummaries | the first
// hint's key for the summary of a segment, and keyFloor; all big endian. A sequence
// is the time of keeping in unix microseconds, or the last one plus 1.
const (
	spaceSummaries = 3
	spaceFacts     = 4

	queueKeySize = 1 + 16
	hintKeySize  = queueKeySize + 8
)

var keyFloor = []byte{spaceFacts, 1}

// queueID names a queue.
type queueID struct {
	class  Class
	target ring.NodeID
}

func (id queueID) compare(o queueID) int {
	if id.class != o.class {
		return int(id.class) - int(o.class)
	}
	return bytes.Compare(id.target[:], o.target[:])
}

// append appends the prefix of the queue's keys.
func (id queueID) append(dst []byte) []byte {
	return append(append(dst, byte(id.class)), id.target[:]...)
}

// key is the key of one hint.
func (id queueID) key(seq uint64) []byte {
	return id.appendKey(make([]byte, 0, hintKeySize), seq)
}

func (id queueID) appendKey(dst []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(id.append(dst), seq)
}

// end is the key after all of the queue's.
func (id queueID) end() []byte { return append(id.key(1<<64-1), 0) }

// summaryKey is the key of the summary of the segment that begins at seq.
func (id queueID) summaryKey(seq uint64) []byte {
	return id.appendKey([]byte{spaceSummaries}, seq)
}

// parseKey is the inverse of key; ok is false for other keys.
func parseKey(b []byte) (id queueID, seq uint64, ok bool) {
	if len(b) != hintKeySize {
		return id, 0, false
	}
	id.class = Class(b[0])
	copy(id.target[:], b[1:])
	return id, binary.BigEndian.Uint64(b[queueKeySize:]), id.class == Plain || id.class == Counted
}
