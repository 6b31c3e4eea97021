package coordinator

import (
	"time"

	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
)

// Receipt says what happened to a request.
type Receipt struct {
	Version   uint64        // catalog version that it was placed by
	Timestamp hlc.Timestamp // write timestamp; 0 for reads
	Latency   time.Duration // up to the answer
	Replicas  []ReplicaReceipt
	Repaired  bool // replicas that were behind have been repaired
	Hinted    bool // a hint was counted as an acknowledgement
}

// ReplicaReceipt is one replica's part in a request, when it was answered.
type ReplicaReceipt struct {
	Node ring.NodeID
	// Outcome is a transport code's name, "pending" (no answer yet), or "dead"
	// (not asked because it was not alive).
	Outcome string
}

// GroupResult is what became of the rows of one mutation group.
type GroupResult struct {
	// Err is nil when the level was reached; else *UnavailableError, *TimeoutError,
	// *OverloadedError, *UnknownTableError, *LevelError or ErrStopping.
	Err error
	// Acks is how many of Replicas had acknowledged when the write was answered.
	Acks, Replicas int
	// Receipt is there if it was asked for.
	Receipt *Receipt
}

// Result is the outcome of a write. It is valid until the write's Release.
type Result struct {
	// Clock is the value for the client's session token.
	Clock  hlc.Timestamp
	rows   []row
	groups []GroupResult
}

// Rows returns the number of rows.
func (r *Result) Rows() int { return len(r.rows) }

// Row returns what became of the row that Add numbered i.
func (r *Result) Row(i int) *GroupResult { return &r.groups[r.rows[i].group] }

// Err returns the first group's error, or nil if all rows are stored.
func (r *Result) Err() error {
	for i := range r.groups {
		if err := r.groups[i].Err; err != nil {
			return err
		}
	}
	return nil
}
