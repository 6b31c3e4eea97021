package mend

import (
	"fmt"
	"time"
)

// Config says how fast a scrub goes.
type Config struct {
	// Pass is how long reading everything once should take.
	Pass time.Duration
	// LeastRate is the least that is read, in bytes a second, however little there is.
	LeastRate int64
	// Piece is how many bytes one step reads, about.
	Piece int
	// Persist is the least time between two writes of the position.
	Persist time.Duration
}

// DefaultConfig reads everything once a week.
func DefaultConfig() Config {
	return Config{Pass: 7 * 24 * time.Hour, LeastRate: 64 << 10, Piece: 1 << 20, Persist: time.Minute}
}

// Validate reports the first setting that makes no sense.
func (c Config) Validate() error {
	if c.Pass <= 0 || c.LeastRate < 1 || c.Piece < 1 || c.Persist <= 0 {
		return fmt.Errorf("mend: Pass is %s, LeastRate %d, Piece %d and Persist %s: give more than 0", c.Pass, c.LeastRate, c.Piece, c.Persist)
	}
	return nil
}
