package catalog

import (
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/catalog/document"
	"github.com/dunlindb/dunlin/ring"
)

// Config is what this node brings to a cluster, and how patient it is.
type Config struct {
	// Name of a cluster that this node bootstraps.
	Name string
	// ReplicationFactor of the built-in keyspace of a cluster that this node
	// bootstraps.
	ReplicationFactor int
	// Addresses at which others reach this node.
	Addresses ring.Addresses
	// Zone and Datacenter of this node; fixed once it is a member.
	Zone, Datacenter string
	// Together is how many nodes join a loaded cluster in one step with this one.
	Together int

	// CallTimeout bounds one call to one node.
	CallTimeout time.Duration
	// ProposeTimeout bounds a proposal whose context has no deadline.
	ProposeTimeout time.Duration
	// BackoffMin and BackoffMax bound the random pauses between tries; the upper
	// end doubles from one try to the next.
	BackoffMin, BackoffMax time.Duration
	// PullEvery is how often one other member is asked for a newer document even
	// though nobody told of one.
	PullEvery time.Duration
	// RememberEvery is how often a risen clock ceiling of a peer is persisted; a
	// risen boot number is at once.
	RememberEvery time.Duration
}

// DefaultConfig returns the settings of a node that is told nothing else, without
// addresses.
func DefaultConfig() Config {
	return Config{
		Name:              "dunlin",
		ReplicationFactor: 3,
		Zone:              "z1",
		Datacenter:        "dc1",
		CallTimeout:       2 * time.Second,
		ProposeTimeout:    10 * time.Second,
		BackoffMin:        10 * time.Millisecond,
		BackoffMax:        time.Second,
		PullEvery:         30 * time.Second,
		RememberEvery:     10 * time.Second,
	}
}

// Validate reports every bad setting.
func (c Config) Validate() error {
	var errs []error
	for _, s := range []struct{ what, value string }{
		{"name", c.Name}, {"zone", c.Zone}, {"datacenter", c.Datacenter},
	} {
		if s.value == "" || len(s.value) > document.NameMax {
			errs = append(errs, fmt.Errorf("catalog: %s has %d bytes: give 1 to %d", s.what, len(s.value), document.NameMax))
		}
	}
	if c.ReplicationFactor < 1 || c.ReplicationFactor > ring.FactorMax {
		errs = append(errs, fmt.Errorf("catalog: replication factor is %d: give 1 to %d", c.ReplicationFactor, ring.FactorMax))
	}
	if err := document.CheckAddresses(c.Addresses); err != nil {
		errs = append(errs, fmt.Errorf("catalog: %w", err))
	}
	for _, d := range []struct {
		what  string
		value time.Duration
	}{
		{"call timeout", c.CallTimeout}, {"propose timeout", c.ProposeTimeout}, {"least back-off", c.BackoffMin},
		{"pull interval", c.PullEvery}, {"remember interval", c.RememberEvery},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("catalog: %s is %s: give more than 0", d.what, d.value))
		}
	}
	if c.BackoffMax < c.BackoffMin {
		errs = append(errs, fmt.Errorf("catalog: back-off is %s to %s: give an ascending range", c.BackoffMin, c.BackoffMax))
	}
	return errors.Join(errs...)
}
