package rebalance

import (
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/rebalance/stream"
)

// Config are the settings of a Driver.
type Config struct {
	// GiveUp is how long a node that joins may be dead until its change is aborted.
	GiveUp time.Duration
	// TakeOver is how long a phase may last until the next voter drives it too.
	TakeOver time.Duration
	// HurryEvery is how often ranges that are missing are asked for again.
	HurryEvery time.Duration
	// CallTimeout bounds the question how far another node is.
	CallTimeout time.Duration
	// Stream bounds the filling of ranges.
	Stream stream.Config
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{GiveUp: 10 * time.Minute, TakeOver: 30 * time.Second, HurryEvery: 5 * time.Second, CallTimeout: 2 * time.Second, Stream: stream.DefaultConfig()}
}

// Validate reports a setting that cannot be.
func (c Config) Validate() error {
	for name, d := range map[string]time.Duration{
		"rebalance.give_up": c.GiveUp, "take over": c.TakeOver, "hurry interval": c.HurryEvery, "call timeout": c.CallTimeout,
	} {
		if d <= 0 {
			return fmt.Errorf("rebalance: %s is %s: give more than 0", name, d)
		}
	}
	return c.Stream.Validate()
}
