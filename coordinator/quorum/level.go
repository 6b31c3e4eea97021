package quorum

import (
	"fmt"
	"strconv"
)

// Level says how many replicas must acknowledge a write or answer a read. The
// zero value is Quorum. Values 1 to MaxCount are plain numbers of replicas.
type Level uint8

// The named levels.
const (
	Quorum Level = 0 // a majority of the replication factor
	One    Level = 1
	Two    Level = 2
	Three  Level = 3
	Any    Level = 254 // writes: one replica, or one durable hint
	All    Level = 255 // every replica
)

// MaxCount is the largest level given as a number.
const MaxCount = 15

// ParseLevel reads a level: any one two three quorum all, or a number from 1. The
// empty text is Quorum. Other text gives a *LevelError.
func ParseLevel(s string) (Level, error) {
	switch s {
	case "", "quorum":
		return Quorum, nil
	case "one":
		return One, nil
	case "two":
		return Two, nil
	case "three":
		return Three, nil
	case "all":
		return All, nil
	case "any":
		return Any, nil
	case "local_one", "local_quorum", "each_quorum", "serial", "local_serial":
		return 0, &LevelError{Level: s, Reason: "is not supported yet: give any, one, two, three, quorum, all or a number"}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n < 1 || n > MaxCount || s[0] == '+' || s[0] == '0' {
		return 0, &LevelError{Level: s, Reason: fmt.Sprintf("is no level: give any, one, two, three, quorum, all or a number from 1 to %d", MaxCount)}
	}
	return Level(n), nil
}

// String returns the level as ParseLevel reads it.
func (l Level) String() string {
	switch l {
	case Quorum:
		return "quorum"
	case One:
		return "one"
	case Two:
		return "two"
	case Three:
		return "three"
	case Any:
		return "any"
	case All:
		return "all"
	}
	return strconv.Itoa(int(l))
}

// Need returns how many of factor replicas the level asks for. A number above
// the factor is a *LevelError.
func (l Level) Need(factor int) (int, error) {
	switch {
	case factor < 1:
		return 0, &LevelError{Level: l.String(), Reason: "cannot be met: the keyspace has replication factor 0"}
	case l == Quorum:
		return factor/2 + 1, nil
	case l == All:
		return factor, nil
	case l == Any:
		return 1, nil
	case int(l) > factor:
		return 0, &LevelError{Level: l.String(), Reason: fmt.Sprintf("asks for more replicas than the keyspace's replication factor %d", factor)}
	}
	return int(l), nil
}
