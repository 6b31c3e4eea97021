package membership

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Config is how this node gossips.
type Config struct {
	// Listen is the address, "host:port", of the TCP and the UDP socket.
	Listen string
	// Advertise is the address that others use; empty means Listen. A host name
	// is resolved when Run starts, since gossip carries IP addresses.
	Advertise string
	// LeaveTimeout bounds how long a stopping node waits for its farewell to
	// be passed on.
	LeaveTimeout time.Duration
	// RejoinMin and RejoinMax bound the pauses between attempts to reach a peer
	// that is not alive; they double from one attempt to the next.
	RejoinMin, RejoinMax time.Duration
}

// DefaultConfig returns the settings that a node uses unless it is told others.
func DefaultConfig() Config {
	return Config{
		Listen:       "127.0.0.1:7482",
		LeaveTimeout: time.Second,
		RejoinMin:    500 * time.Millisecond,
		RejoinMax:    10 * time.Second,
	}
}

// Validate reports every bad setting.
func (c Config) Validate() error {
	var errs []error
	for _, a := range []struct{ name, address string }{{"listen", c.Listen}, {"advertise", c.advertise()}} {
		if err := checkAddress(a.address); err != nil {
			errs = append(errs, fmt.Errorf("membership: %s address %q: %w", a.name, a.address, err))
		}
	}
	if c.LeaveTimeout <= 0 {
		errs = append(errs, fmt.Errorf("membership: leave timeout is %s: give more than 0", c.LeaveTimeout))
	}
	if c.RejoinMin <= 0 || c.RejoinMax < c.RejoinMin {
		errs = append(errs, fmt.Errorf("membership: rejoin pauses are %s to %s: give more than 0, ascending", c.RejoinMin, c.RejoinMax))
	}
	return errors.Join(errs...)
}

func (c Config) advertise() string {
	if c.Advertise != "" {
		return c.Advertise
	}
	return c.Listen
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if host == "" {
		return errors.New("the host is missing")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("the port is %q: give 1 to 65535", port)
	}
	return nil
}
