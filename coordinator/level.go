package coordinator

import "github.com/dunlindb/dunlin/coordinator/quorum"

// Level says how many replicas must acknowledge a write or answer a read. The
// zero value is Quorum. Values 1 to MaxCount are plain numbers of replicas.
type Level = quorum.Level

// The named levels.
const (
	Quorum = quorum.Quorum // a majority of the replication factor
	Any    = quorum.Any    // writes: one replica, or one durable hint
	One    = quorum.One
	Two    = quorum.Two
	Three  = quorum.Three
	All    = quorum.All // every replica
)

// MaxCount is the largest level given as a number.
const MaxCount = quorum.MaxCount

// ParseLevel reads a level: any one two three quorum all, or a number from 1.
// The empty text is Quorum. Other text gives a *LevelError.
func ParseLevel(s string) (Level, error) { return quorum.ParseLevel(s) }
