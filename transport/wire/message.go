package wire

import (
	"context"
	"fmt"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

// Group is a mutation group: rows of one client request that have the same
// replica set. It is the unit of slots, deadlines, acknowledgements and verdicts.
type Group struct {
	// Version of the catalog that the coordinator placed the group by.
	Version uint64
	// Born is when a coordinator first accepted the group; hints keep it.
	Born hlc.Timestamp
	// Owner is the replica that the receiver shall hold the group for, durably, as
	// a hint; zero: the receiver is a replica itself.
	Owner ring.NodeID
	// Count is the number of entries.
	Count int
	// Entries are record entries (key and fragment) sorted by key; at most
	// 64 KiB unless the group is one row.
	Entries []byte
}

// Code says how a request ended.
type Code uint8

// The codes. Timeout and Unreachable are found out locally and never travel.
const (
	// OK: done; a write is as durable as the replica's configuration says.
	OK Code = iota
	// StaleCatalog: the request's catalog version is older than the last change
	// of its range; Verdict.Version is the replica's version.
	StaleCatalog
	// UnknownTable: the replica's catalog has no such table.
	UnknownTable
	// Overloaded: refused before anything was done; another replica or a later
	// try may succeed.
	Overloaded
	// Fenced: born at or below the range's fence; anti-entropy has carried its rows.
	Fenced
	// Quarantined: the replica does not answer reads of that range at present.
	Quarantined
	// Expired: the budget was used up before the work began; nothing was done.
	Expired
	// Failed: the replica tried and failed, or the request can never succeed;
	// Detail says which.
	Failed
	// Timeout: no answer within the budget. A write may still happen.
	Timeout
	// Unreachable: no connection, or it broke before the answer. A write may
	// have happened in the second case.
	Unreachable

	codes // number of codes
)

// codeNames are the codes' names in errors and metric labels.
var codeNames = [codes]string{
	"ok", "stale_catalog", "unknown_table", "overloaded", "fenced",
	"quarantined", "expired", "failed", "timeout", "unreachable",
}

// String returns the code's name in snake case.
func (c Code) String() string {
	if c < codes {
		return codeNames[c]
	}
	return fmt.Sprintf("code_%d", uint8(c))
}

// Verdict is the outcome of one request.
type Verdict struct {
	Code   Code
	Detail string // for people; empty for OK
	// Version is the replica's catalog version, with StaleCatalog.
	Version uint64
}

// Err returns nil for OK, and an *Error otherwise.
func (v Verdict) Err() error {
	if v.Code == OK {
		return nil
	}
	return &Error{Verdict: v}
}

// Error is a verdict other than OK as an error.
type Error struct{ Verdict Verdict }

// Error says the code and the detail.
func (e *Error) Error() string {
	if e.Verdict.Detail == "" {
		return "transport: " + e.Verdict.Code.String()
	}
	return "transport: " + e.Verdict.Code.String() + ": " + e.Verdict.Detail
}

// Is makes Timeout and Expired match context.DeadlineExceeded.
func (e *Error) Is(target error) bool {
	return target == context.DeadlineExceeded && (e.Verdict.Code == Timeout || e.Verdict.Code == Expired)
}

// ReadRequest asks a replica for a slice of one partition.
type ReadRequest struct {
	Version   uint64
	Table     uint32
	Partition []byte
	// Start (inclusive) and End (exclusive) bound the encoded clustering
	// suffix; nil is open, and differs from empty.
	Start, End []byte
	Reverse    bool
	// Digest asks for the digest of the answer instead of its rows.
	Digest            bool
	MaxRows, MaxBytes int
	// Now is the coordinator's time in unix seconds: what is expired then is not live.
	Now int64
}

// ReadAnswer is a replica's answer to a ReadRequest. Its slices belong to the
// receiver.
type ReadAnswer struct {
	Verdict Verdict
	Digest  record.Digest
	Head    []byte // the partition's head fragment, empty if none
	Rows    []byte // entries: clustering suffix, fragment; in walk order
	Live    int    // rows of them that are visible at Now
	More    bool   // stopped by a limit: rows may remain
}

// Position is a place in a token range: the last key that a scan has seen.
type Position struct {
	Token             token.Token
	Partition, Suffix []byte
}

// ScanRequest asks a replica for rows or partitions of one token range, in
// token order.
type ScanRequest struct {
	Version uint64
	Table   uint32
	Range   token.RangeID
	// After excludes everything up to and including a position; nil begins at
	// the start of the range.
	After             *Position
	PartitionsOnly    bool
	MaxRows, MaxBytes int
	Now               int64 // unix seconds, the coordinator's
}

// ScanAnswer is a replica's answer to a ScanRequest. The encoding of Partitions
// and Rows is the replica's affair; transport carries the bytes.
type ScanAnswer struct {
	Verdict    Verdict
	Partitions []byte
	Rows       []byte
	Live       int
	More       bool
	// Next is where to go on (as After) when More is set.
	Next *Position
}
