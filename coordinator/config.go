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
func (c Config) Validate() (err error) {
	for _, bound := range []struct {
		name  string
		value int64
	}{
		{"WriteTimeout", int64(c.WriteTimeout)}, {"ReadTimeout", int64(c.ReadTimeout)}, {"DrainTimeout", int64(c.DrainTimeout)},
		{"HedgeDelay", int64(c.HedgeDelay)}, {"HedgeMin", int64(c.HedgeMin)}, {"Reads", int64(c.Reads)}, {"ScanAhead", int64(c.ScanAhead)},
		{"InFlightBytes", c.InFlightBytes}, {"StragglerBytes", c.StragglerBytes}, {"GroupBytes", int64(c.GroupBytes)},
		{"RowBytes", int64(c.RowBytes)}, {"PageRows", int64(c.PageRows)}, {"PageBytes", int64(c.PageBytes)},
	} {
		if bound.value < 1 {
			err = errors.Join(err, fmt.Errorf("coordinator: %s is %d: give at least 1", bound.name, bound.value))
		}
	}
	return errors.Join(err, c.Pace.Validate())
}
