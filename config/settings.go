package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// setting is one thing that an operator can choose.
type setting struct {
	key   string // as in the file: lower case, dots between levels
	unset string // default as text
	kind  kind
	help  string            // one or more lines, without the default
	field func(*Config) any // a pointer to where the value goes
}

// kind says how a setting's text is read and how its flag looks.
type kind int

const (
	kindText kind = iota
	kindBool
	kindInt
	kindBytes
	kindDuration
	kindList
)

// flag is the setting's command-line name: dots and underscores become dashes.
func (s setting) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(s.key)
}

// environment is the setting's environment variable.
func (s setting) environment() string {
	return "DUNLIN_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// settings is the table of all settings, in the order of the example file.
func settings() []setting {
	groups := [][]setting{identitySettings(), listenSettings(), storageSettings(), limitSettings(), logSettings()}
	var all []setting
	for _, g := range groups {
		all = append(all, g...)
	}
	defaults := Default()
	for i := range all {
		all[i].unset = all[i].render(&defaults)
	}
	return all
}

func identitySettings() []setting {
	return []setting{
		{key: "cluster_name", kind: kindText, help: "Name of the cluster, given at bootstrap. A label: the cluster's UUID is its identity.",
			field: func(c *Config) any { return &c.Node.ClusterName }},
		{key: "data_dir", kind: kindText, help: "Directory of the stores. One node, one directory.",
			field: func(c *Config) any { return &c.Node.DataDir }},
		{key: "bootstrap", kind: kindBool, help: "Found a new cluster when data_dir is empty. Ignored by a node that is a member already.",
			field: func(c *Config) any { return &c.Node.Bootstrap }},
		{key: "join", kind: kindList, help: "Members to ask for membership when data_dir is empty: host[:7481], comma separated.\nIgnored by a node that is a member already.",
			field: func(c *Config) any { return &c.Node.Join }},
		{key: "join_count", kind: kindInt, help: "How many nodes join a loaded cluster in one step, this one included: give all of them the same.\nNeeded for the first nodes of a new zone.",
			field: func(c *Config) any { return &c.Node.JoinCount }},
		{key: "replication_factor", kind: kindInt, help: "Replicas of every row of the built-in keyspace. Read at bootstrap only.",
			field: func(c *Config) any { return &c.Node.ReplicationFactor }},
		{key: "zone", kind: kindText, help: "Failure zone of this node (rack, availability zone). Replicas go to distinct zones first.",
			field: func(c *Config) any { return &c.Node.Zone }},
		{key: "datacenter", kind: kindText, help: "Datacenter of this node.",
			field: func(c *Config) any { return &c.Node.Datacenter }},
	}
}

func listenSettings() []setting {
	return []setting{
		{key: "listen.host", kind: kindText, help: "Address that all ports listen on.",
			field: func(c *Config) any { return &c.Node.Listen.Host }},
		{key: "listen.http_port", kind: kindInt, help: "Port of the HTTP API.",
			field: func(c *Config) any { return &c.Node.Listen.HTTPPort }},
		{key: "listen.internode_port", kind: kindInt, help: "Port for other nodes.",
			field: func(c *Config) any { return &c.Node.Listen.InternodePort }},
		{key: "listen.gossip_port", kind: kindInt, help: "Port of the gossip, TCP and UDP.",
			field: func(c *Config) any { return &c.Node.Listen.GossipPort }},
		{key: "listen.admin_port", kind: kindInt, help: "Port for health, metrics and operations.",
			field: func(c *Config) any { return &c.Node.Listen.AdminPort }},
		{key: "advertise.host", kind: kindText, help: "Address at which others reach this node. Empty: listen.host.",
			field: func(c *Config) any { return &c.Node.Advertise.Host }},
		{key: "http.hosts", kind: kindList, help: "Host names that clients may use beside this node's own addresses and localhost.\nRequests for any other Host are refused, so that no web page can reach a local node.",
			field: func(c *Config) any { return &c.Node.HTTPHosts }},
		{key: "http.origins", kind: kindList, help: "Web origins (https://host) whose pages may write to this node. Others are refused.",
			field: func(c *Config) any { return &c.Node.HTTPOrigins }},
		{key: "insecure", kind: kindBool, help: "Allow addresses other than loopback. There is no authentication and no TLS yet:\nwhoever reaches the ports can read and write everything.",
			field: func(c *Config) any { return &c.Node.Insecure }},
	}
}

func storageSettings() []setting {
	return []setting{
		{key: "storage.durability", kind: kindText, help: "sync: an acknowledged write is on disk (group commit). periodic: it is on disk within\nstorage.sync_interval, and a crash of the machine may lose that much.",
			field: func(c *Config) any { return &c.Node.Storage.Durability }},
		{key: "storage.sync_interval", kind: kindDuration, help: "For periodic durability: the most that a crash can lose.",
			field: func(c *Config) any { return &c.Node.Storage.SyncInterval }},
		{key: "storage.committers", kind: kindInt, help: "Goroutines that commit writes. 0: one per four cores.",
			field: func(c *Config) any { return &c.Node.Storage.Committers }},
		{key: "memory.budget", kind: kindBytes, help: "Memory of the node: memtables, block cache, frames, admission and the Go heap share it.\nThe heap's part is its GOMEMLIMIT, unless that is set.",
			field: func(c *Config) any { return &c.Node.Storage.MemoryBudget }},
	}
}

func limitSettings() []setting {
	return []setting{
		{key: "hints.enabled", kind: kindBool, help: "Keep what replicas missed, and replay it when they are back. Off only to find out what\ndepends on it: w=any and sloppy writes do.",
			field: func(c *Config) any { return &c.Node.Hints.Enabled }},
		{key: "hints.max_age", kind: kindDuration, help: "Older hints are dropped, except those that made an acknowledgement true (any, sloppy);\nanti-entropy carries what they held.",
			field: func(c *Config) any { return &c.Node.Hints.MaxAge }},
		{key: "hints.target_bytes", kind: kindBytes, help: "Most that is kept for one node; over it the oldest are dropped.",
			field: func(c *Config) any { return &c.Node.Hints.TargetBytes }},
		{key: "hints.total_bytes", kind: kindBytes, help: "Most that is kept for all nodes.",
			field: func(c *Config) any { return &c.Node.Hints.TotalBytes }},
		{key: "hints.replay_rate", kind: kindBytes, help: "Bytes a second that are replayed to all nodes that are back.",
			field: func(c *Config) any { return &c.Node.Hints.ReplayRate }},
		{key: "antientropy.enabled", kind: kindBool, help: "Keep replicas equal in the background. Off only to find out what depends on it.",
			field: func(c *Config) any { return &c.Node.AntiEntropy.Enabled }},
		{key: "antientropy.cpu_percent", kind: kindInt, help: "Percent of one core that it takes at most; up to 25 while something is urgent.",
			field: func(c *Config) any { return &c.Node.AntiEntropy.CPUPercent }},
		{key: "antientropy.purge_lag", kind: kindDuration, help: "How long a write may take to reach a replica; later ones are refused there, and repair\ncarries them. Deletions and expired data go after more than twice that.",
			field: func(c *Config) any { return &c.Node.AntiEntropy.PurgeLag }},
		{key: "antientropy.purge_pace", kind: kindDuration, help: "Least time between two purges of a range: each reads what it has of tables with\ndeletions or times to live.",
			field: func(c *Config) any { return &c.Node.AntiEntropy.PurgePace }},
		{key: "antientropy.scrub_pass", kind: kindDuration, help: "How long reading everything once takes, in the background, to find data that rots.",
			field: func(c *Config) any { return &c.Node.AntiEntropy.ScrubPass }},
		{key: "rebalance.bytes_per_second", kind: kindBytes, help: "Most that a node which takes ranges over is filled with. On busy machines it is less by itself.",
			field: func(c *Config) any { return &c.Node.Rebalance.BytesPerSecond }},
		{key: "rebalance.give_up", kind: kindDuration, help: "After a node that joins has not answered for so long, its joining is aborted.",
			field: func(c *Config) any { return &c.Node.Rebalance.GiveUp }},
		{key: "rebalance.latency_percent", kind: kindInt, help: "How long the slowest hundredth of requests may take while data moves, in percent of what is\nusual: the move is as slow as that needs. 0: however long.",
			field: func(c *Config) any { return &c.Node.Rebalance.LatencyPercent }},
		{key: "clock.max_skew", kind: kindDuration, help: "How far a clock may be ahead of this node's: writes stamped beyond it are refused,\nand peers beyond it are not believed.",
			field: func(c *Config) any { return &c.Node.Clock.MaxSkew }},
		{key: "events.max_future", kind: kindDuration, help: "How far ahead an event's own time may lie.",
			field: func(c *Config) any { return &c.Node.Limits.EventsMaxFuture }},
		{key: "limits.event_bytes", kind: kindBytes, help: "Largest event.",
			field: func(c *Config) any { return &c.Node.Limits.EventBytes }},
		{key: "limits.value_bytes", kind: kindBytes, help: "Largest value of a key.",
			field: func(c *Config) any { return &c.Node.Limits.ValueBytes }},
		{key: "limits.key_bytes", kind: kindBytes, help: "Longest stream name, bucket or key.",
			field: func(c *Config) any { return &c.Node.Limits.KeyBytes }},
		{key: "timeouts.write", kind: kindDuration, help: "Deadline of a write that names none (timeout=).",
			field: func(c *Config) any { return &c.Node.Timeouts.Write }},
		{key: "timeouts.read", kind: kindDuration, help: "Deadline of a read that names none (timeout=).",
			field: func(c *Config) any { return &c.Node.Timeouts.Read }},
		{key: "stop_timeout", kind: kindDuration, help: "How long a graceful stop may wait for requests in flight.",
			field: func(c *Config) any { return &c.Node.StopTimeout }},
	}
}

func logSettings() []setting {
	return []setting{
		{key: "log.level", kind: kindText, help: "debug, info, warn or error.",
			field: func(c *Config) any { return &c.Log.Level }},
		{key: "log.format", kind: kindText, help: "text or json.",
			field: func(c *Config) any { return &c.Log.Format }},
	}
}

// render writes the setting's value as it stands in the file.
func (s setting) render(c *Config) string {
	switch v := s.field(c).(type) {
	case *string:
		return *v
	case *bool:
		return strconv.FormatBool(*v)
	case *int:
		if s.kind == kindBytes {
			return shortBytes(int64(*v))
		}
		return strconv.Itoa(*v)
	case *int64:
		return shortBytes(*v)
	case *time.Duration:
		return shortDuration(*v)
	case *[]string:
		return strings.Join(*v, ",")
	default:
		return ""
	}
}

// shortBytes writes a number of bytes with the largest unit that divides it.
func shortBytes(n int64) string {
	for _, u := range []struct {
		shift  int
		suffix string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

// shortDuration writes 1h0m0s as 1h.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// assign reads text into the setting's place.
func (s setting) assign(c *Config, text string) error {
	switch v := s.field(c).(type) {
	case *string:
		*v = text
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("is %q: give true or false", text)
		}
		*v = b
	case *int:
		n, err := s.parseNumber(text)
		if err != nil {
			return err
		}
		*v = int(n)
	case *int64:
		n, err := parseBytes(text)
		if err != nil {
			return err
		}
		*v = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("is %q: give a length of time such as 500ms, 5s or 1h", text)
		}
		*v = d
	case *[]string:
		*v = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*v = append(*v, part)
			}
		}
	}
	return nil
}

// parseNumber reads a count, or a number of bytes with its unit.
func (s setting) parseNumber(text string) (int64, error) {
	if s.kind == kindBytes {
		return parseBytes(text)
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return 0, fmt.Errorf("is %q: give a whole number", text)
	}
	return int64(n), nil
}

// parseBytes reads a number of bytes: plain, or with KiB, MiB or GiB.
func parseBytes(text string) (int64, error) {
	number, shift := strings.TrimSpace(text), 0
	for suffix, s := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, shift = strings.TrimSpace(rest), s
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n > (1<<62)>>shift || n < -(1<<62)>>shift {
		return 0, fmt.Errorf("is %q: give a number of bytes such as 1048576 or 1MiB", text)
	}
	return n << shift, nil
}
