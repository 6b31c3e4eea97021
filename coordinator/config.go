package coordinator

import (
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/coordinator/pace"
)

// Config holds the coordinator's bounds and defaults.
type Config struct {
	// WriteTimeout and ReadTimeout apply to requests that name no timeout.
	WriteTimeout, ReadTimeout time.Duration
	// InFlightBytes bounds the writes that are not answered yet.
	InFlightBytes int64
	// StragglerBytes bounds the answered writes that still wait for replicas.
	StragglerBytes int64
	// Reads bounds the reads and scans in flight.
	Reads int
	// GroupBytes is the largest mutation group of more than one row.
	GroupBytes int
	// RowBytes is the largest row, key and fragment.
	RowBytes int
	// PageRows and PageBytes bound the answer to one read or scan page.
	PageRows, PageBytes int
	// HedgeDelay is how long a read waits before it asks a spare replica, until
	// enough reads of the table were seen to know their p99; HedgeMin is the
	// least delay after that.
	HedgeDelay, HedgeMin time.Duration
	// ScanAhead is how many ranges a scan asks for at a time.
	ScanAhead int
	// Pace says how far work in the background may slow requests down.
	Pace pace.Config
	// DrainTimeout bounds the wait for open work when Run is stopped.
	DrainTimeout time.Duration
}

// DefaultConfig returns bounds that fit a node with default memory.
func DefaultConfig() Config {
	return Config{
		WriteTimeout:   5 * time.Second,
		ReadTimeout:    10 * time.Second,
		InFlightBytes:  16 << 20,
		StragglerBytes: 16 << 20,
		Reads:          2048,
		GroupBytes:     64 << 10,
		RowBytes:       2 << 20,
		PageRows:       10_000,
		PageBytes:      4 << 20,
		HedgeDelay:     50 * time.Millisecond,
		HedgeMin:       2 * time.Millisecond,
		ScanAhead:      16,
		Pace:           pace.DefaultConfig(),
		DrainTimeout:   10 * time.Second,
	}
}

// Validate reports every bound that makes no sense.
func (c Config) Validate() error {
	var errs []error
	positive := func(name string, value int64) {
		if value < 1 {
			errs = append(errs, fmt.Errorf("coordinator: %s is %d: give at least 1", name, value))
		}
	}
	positive("WriteTimeout", int64(c.WriteTimeout))
	positive("ReadTimeout", int64(c.ReadTimeout))
	positive("InFlightBytes", c.InFlightBytes)
	positive("StragglerBytes", c.StragglerBytes)
	positive("Reads", int64(c.Reads))
	positive("GroupBytes", int64(c.GroupBytes))
	positive("RowBytes", int64(c.RowBytes))
	positive("PageRows", int64(c.PageRows))
	positive("PageBytes", int64(c.PageBytes))
	positive("HedgeDelay", int64(c.HedgeDelay))
	positive("HedgeMin", int64(c.HedgeMin))
	positive("ScanAhead", int64(c.ScanAhead))
	positive("DrainTimeout", int64(c.DrainTimeout))
	return errors.Join(append(errs, c.Pace.Validate())...)
}
