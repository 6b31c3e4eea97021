package purge

import (
	"fmt"
	"time"
)

// Config says when deletions and expired data go.
type Config struct {
	// Lag is how far fences stay behind now: a group that takes longer to reach a
	// replica is refused, and anti-entropy carries what it held.
	Lag time.Duration
	// Every is the pause between two exchanges with the other members.
	Every time.Duration
	// Pace is the least time between two purge points of a range, and between two
	// looks for expired values in a leaf: each costs reading the leaves that have
	// some.
	Pace time.Duration
	// Skew is added wherever clocks of two nodes are compared.
	Skew time.Duration
}

// DefaultConfig drops deletions and expired data about a quarter of an hour later,
// if all members answer.
func DefaultConfig() Config {
	return Config{Lag: 5 * time.Minute, Every: time.Minute, Pace: 10 * time.Minute, Skew: 10 * time.Second}
}

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.Every <= 0 || c.Pace <= 0 || c.Skew <= 0:
		return fmt.Errorf("purge: Every is %s, Pace %s and Skew %s: give more than 0", c.Every, c.Pace, c.Skew)
	case c.Lag < c.Skew:
		return fmt.Errorf("purge: Lag is %s, below Skew %s", c.Lag, c.Skew)
	}
	return nil
}
