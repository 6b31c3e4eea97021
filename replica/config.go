package replica

import (
	"fmt"
	"time"
)

// Config bounds a replica.
type Config struct {
	// CatchUps is how many groups may wait for this node's catalog to reach the
	// sender's version; more are refused as Overloaded.
	CatchUps int
	// CatchUpTimeout bounds such a wait for groups without a deadline.
	CatchUpTimeout time.Duration
	// MaxRows and MaxBytes bound the answer to one read or scan, whatever was asked.
	MaxRows, MaxBytes int
}

// DefaultConfig returns bounds that fit a node with default memory.
func DefaultConfig() Config {
	return Config{CatchUps: 256, CatchUpTimeout: 5 * time.Second, MaxRows: 20_000, MaxBytes: 4 << 20}
}

// Validate reports the first bound that makes no sense.
func (c Config) Validate() error {
	switch {
	case c.CatchUps < 1:
		return fmt.Errorf("replica: CatchUps is %d: give at least 1", c.CatchUps)
	case c.CatchUpTimeout <= 0:
		return fmt.Errorf("replica: CatchUpTimeout is %s: give more than 0", c.CatchUpTimeout)
	case c.MaxRows < 1 || c.MaxBytes < 1:
		return fmt.Errorf("replica: MaxRows is %d and MaxBytes %d: give at least 1", c.MaxRows, c.MaxBytes)
	}
	return nil
}
