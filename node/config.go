package node

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Config is everything that a node's operator can choose. Package config
// fills it from a file, the environment and flags.
type Config struct {
	ClusterName       string        // given at bootstrap; a label, the UUID is the identity
	DataDir           string        // holds the three stores
	Zone              string        // failure zone (rack, availability zone)
	Datacenter        string        // datacenter of NetworkTopologyStrategy
	Bootstrap         bool          // found a new cluster when the data directory is empty
	Join              []string      // members to ask for membership, host[:7481]
	JoinCount         int           // nodes that join in one step, this one included
	ReplicationFactor int           // of the built-in keyspace; used at bootstrap only
	Insecure          bool          // allow to listen on other addresses than loopback
	StopTimeout       time.Duration // how long a graceful stop may drain

	Listen      Listen
	Advertise   Advertise
	Storage     Storage
	Clock       Clock
	Hints       Hints
	AntiEntropy AntiEntropy
	Rebalance   Rebalance
	Limits      Limits
	Timeouts    Timeouts
	HTTPHosts   []string // Host headers that are accepted beside this node's own
	HTTPOrigins []string // web origins whose pages may write, beside this node's own

	Version string // of the binary, for /v1/status
}

// Listen is where a node listens: one host, four ports.
type Listen struct {
	Host          string
	HTTPPort      int
	InternodePort int
	GossipPort    int // TCP and UDP
	AdminPort     int
}

// Advertise is how other nodes and clients reach this node.
type Advertise struct {
	Host string // empty: Listen.Host
}

// Storage chooses durability and memory.
type Storage struct {
	Durability   string        // "sync": acknowledged means fsynced; "periodic": synced every SyncInterval
	SyncInterval time.Duration // for periodic
	MemoryBudget int64         // bytes for the whole node
	Committers   int           // 0: one per four cores
}

// Clock bounds how far clocks may differ.
type Clock struct {
	MaxSkew time.Duration
}

// Hints is what is kept for replicas that missed writes.
type Hints struct {
	Enabled     bool
	MaxAge      time.Duration // of hints that only help convergence
	TargetBytes int64         // of them, for one node
	TotalBytes  int64         // of them, for all nodes
	ReplayRate  int64         // bytes a second
}

// Rebalance is how data is moved when nodes come and go.
type Rebalance struct {
	GiveUp         time.Duration // after a node that joins has not answered for so long, its change is aborted
	BytesPerSecond int64         // most that a node which takes ranges over is filled with
	// LatencyPercent is how long the slowest hundredth of requests may take meanwhile, in
	// percent of what is usual; 0: however long.
	LatencyPercent int
}

// AntiEntropy is how hard replicas are kept equal in the background.
type AntiEntropy struct {
	Enabled    bool
	CPUPercent int // of one core, at most; more while something is urgent
	// PurgeLag is how long writes may be under way: deletions and expired data are
	// kept for more than twice as long. PurgePace is the least time between two
	// purges of a range.
	PurgeLag, PurgePace time.Duration
	// ScrubPass is how long reading everything once takes, to find data that rots.
	ScrubPass time.Duration
}

// Limits bounds what clients may send.
type Limits struct {
	EventBytes      int
	ValueBytes      int
	KeyBytes        int
	EventsMaxFuture time.Duration // how far ahead an event's time may lie
	InFlightBytes   int64         // writes admitted but not answered; 0: from the memory budget
}

// Timeouts are the deadlines of requests that name none.
type Timeouts struct {
	Write time.Duration
	Read  time.Duration
}

// DefaultConfig returns the settings of a node that is told nothing else.
func DefaultConfig() Config {
	return Config{
		ClusterName:       "dunlin",
		DataDir:           "./dunlin-data",
		Zone:              "z1",
		Datacenter:        "dc1",
		ReplicationFactor: 3,
		JoinCount:         1,
		StopTimeout:       15 * time.Second,
		Listen: Listen{
			Host: "127.0.0.1", HTTPPort: 7480, InternodePort: 7481, GossipPort: 7482, AdminPort: 7483,
		},
		Storage: Storage{Durability: "sync", SyncInterval: 5 * time.Millisecond, MemoryBudget: 160 << 20},
		Clock:   Clock{MaxSkew: 5 * time.Second},

		Hints:       Hints{Enabled: true, MaxAge: 3 * time.Hour, TargetBytes: 2 << 30, TotalBytes: 8 << 30, ReplayRate: 16 << 20},
		Rebalance:   Rebalance{GiveUp: 10 * time.Minute, BytesPerSecond: 64 << 20, LatencyPercent: 200},
		AntiEntropy: AntiEntropy{Enabled: true, CPUPercent: 3, PurgeLag: 5 * time.Minute, PurgePace: 10 * time.Minute, ScrubPass: 7 * 24 * time.Hour},
		Limits:      Limits{EventBytes: 1 << 20, ValueBytes: 1 << 20, KeyBytes: 1 << 10, EventsMaxFuture: time.Hour},
		Timeouts:    Timeouts{Write: 5 * time.Second, Read: 10 * time.Second},
	}
}

// FieldError is a setting with a bad value. Field is the setting's key as in
// the configuration file.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string {
	return e.Field + ": " + e.Reason
}

// Validate reports every bad setting by its key (each a *FieldError, joined).
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if c.DataDir == "" {
		bad("data_dir", "is empty: name a directory")
	}
	if c.ClusterName == "" {
		bad("cluster_name", "is empty")
	}
	if c.Zone == "" || c.Datacenter == "" {
		bad("zone", "zone and datacenter must not be empty")
	}
	if c.Bootstrap && len(c.Join) > 0 {
		bad("bootstrap", "give either bootstrap (found a new cluster) or join (enter one), not both")
	}
	if r := c.Rebalance.BytesPerSecond; r < 64<<10 || r > 1<<40 {
		bad("rebalance.bytes_per_second", "is %d: give 64KiB to 1TiB", r)
	}
	if p := c.Rebalance.LatencyPercent; p != 0 && (p < 120 || p > 10_000) {
		bad("rebalance.latency_percent", "is %d: give 120 to 10000, or 0 to move data however long requests take", p)
	}
	if c.JoinCount < 1 || c.JoinCount > 64 {
		bad("join_count", "is %d: give 1 to 64", c.JoinCount)
	}
	if c.ReplicationFactor < 1 || c.ReplicationFactor > 15 {
		bad("replication_factor", "is %d: give 1 to 15", c.ReplicationFactor)
	}
	c.validateListen(bad)
	c.validateBounds(bad)
	return errors.Join(errs...)
}

func (c Config) validateListen(bad func(string, string, ...any)) {
	for _, host := range []struct{ key, value string }{{"listen.host", c.Listen.Host}, {"advertise.host", c.advertiseHost()}} {
		ip := net.ParseIP(host.value)
		switch {
		case host.value == "":
			bad(host.key, "is empty: name an address")
		case ip != nil && ip.IsUnspecified() && host.key == "advertise.host":
			bad(host.key, "is %s, which others cannot dial: set advertise.host to this machine's address", host.value)
		case !isLoopback(host.value) && !c.Insecure:
			bad(host.key, "is %s, which is not a loopback address; there is no authentication yet, so this needs --insecure and a private network", host.value)
		}
	}
	ports := map[int]string{}
	for _, p := range []struct {
		key  string
		port int
	}{
		{"listen.http_port", c.Listen.HTTPPort}, {"listen.internode_port", c.Listen.InternodePort},
		{"listen.gossip_port", c.Listen.GossipPort}, {"listen.admin_port", c.Listen.AdminPort},
	} {
		if p.port < 1 || p.port > 65535 {
			bad(p.key, "is %d: give 1 to 65535", p.port)
		}
		if other, taken := ports[p.port]; taken {
			bad(p.key, "is %d, as %s already is", p.port, other)
		}
		ports[p.port] = p.key
	}
}

func (c Config) validateBounds(bad func(string, string, ...any)) {
	if d := c.Storage.Durability; d != "sync" && d != "periodic" {
		bad("storage.durability", "is %q: give sync or periodic", d)
	}
	if c.Storage.MemoryBudget < 64<<20 {
		bad("memory.budget", "is %d bytes: give at least 64MiB", c.Storage.MemoryBudget)
	}
	for _, n := range []struct {
		key         string
		value, most int64
	}{
		{"hints.target_bytes", c.Hints.TargetBytes, 1 << 40},
		{"hints.total_bytes", c.Hints.TotalBytes, 1 << 42},
		{"hints.replay_rate", c.Hints.ReplayRate, 1 << 40},
	} {
		if n.value < 1<<20 || n.value > n.most {
			bad(n.key, "is %d bytes: give 1MiB to %d", n.value, n.most)
		}
	}
	if p := c.AntiEntropy.CPUPercent; p < 1 || p > 100 {
		bad("antientropy.cpu_percent", "is %d: give 1 to 100, percent of one core", p)
	}
	if lag, least := c.AntiEntropy.PurgeLag, max(2*c.Clock.MaxSkew, 2*c.Timeouts.Write); lag < least || lag > 24*time.Hour {
		bad("antientropy.purge_lag", "is %s: give %s (twice clock.max_skew and timeouts.write) to 24h", lag, least)
	}
	if c.Storage.Committers < 0 || c.Storage.Committers > 64 {
		bad("storage.committers", "is %d: give 0 (one per four cores) to 64", c.Storage.Committers)
	}
	for _, d := range []struct {
		key   string
		value time.Duration
		most  time.Duration
	}{
		{"storage.sync_interval", c.Storage.SyncInterval, 10 * time.Second},
		{"clock.max_skew", c.Clock.MaxSkew, time.Hour},
		{"rebalance.give_up", c.Rebalance.GiveUp, 7 * 24 * time.Hour},
		{"antientropy.purge_pace", c.AntiEntropy.PurgePace, 30 * 24 * time.Hour},
		{"antientropy.scrub_pass", c.AntiEntropy.ScrubPass, 365 * 24 * time.Hour},
		{"hints.max_age", c.Hints.MaxAge, 30 * 24 * time.Hour},
		{"events.max_future", c.Limits.EventsMaxFuture, 365 * 24 * time.Hour},
		{"timeouts.write", c.Timeouts.Write, 10 * time.Minute},
		{"timeouts.read", c.Timeouts.Read, 10 * time.Minute},
		{"stop_timeout", c.StopTimeout, 10 * time.Minute},
	} {
		if d.value <= 0 || d.value > d.most {
			bad(d.key, "is %s: give more than 0 and at most %s", d.value, d.most)
		}
	}
	for _, n := range []struct {
		key         string
		value, most int
	}{
		{"limits.event_bytes", c.Limits.EventBytes, 16 << 20},
		{"limits.value_bytes", c.Limits.ValueBytes, 16 << 20},
		{"limits.key_bytes", c.Limits.KeyBytes, 32<<10 - 16}, // two keys and their lengths fit a partition key
	} {
		if n.value < 1 || n.value > n.most {
			bad(n.key, "is %d bytes: give 1 to %d", n.value, n.most)
		}
	}
}

func (c Config) advertiseHost() string {
	if c.Advertise.Host != "" {
		return c.Advertise.Host
	}
	return c.Listen.Host
}

// listenAddress and advertiseAddress join a host of this node with a port.
func (c Config) listenAddress(port int) string {
	return net.JoinHostPort(c.Listen.Host, strconv.Itoa(port))
}

func (c Config) advertiseAddress(port int) string {
	return net.JoinHostPort(c.advertiseHost(), strconv.Itoa(port))
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
