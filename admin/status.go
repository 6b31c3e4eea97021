package admin

import "time"

// Status is what a node knows of itself and its cluster.
type Status struct {
	Cluster        string   `json:"cluster"`
	ClusterID      string   `json:"cluster_id"`
	Generation     uint64   `json:"generation"`
	CatalogVersion uint64   `json:"catalog_version"`
	Sealed         bool     `json:"sealed"` // data exists: joining needs rebalancing
	Node           string   `json:"node"`   // this node
	Version        string   `json:"version"`
	Boot           uint64   `json:"boot"` // number of this start
	UptimeSeconds  float64  `json:"uptime_seconds"`
	Ready          bool     `json:"ready"`
	Unready        []string `json:"unready,omitempty"` // why not
	Members        []Member `json:"members"`
	// Change is the change of the layout on its way.
	Change *ChangeProgress `json:"change,omitempty"`
	// Replacing is the member whose ranges the next node that joins takes.
	Replacing  string     `json:"replacing,omitempty"`
	Removed    []Removed  `json:"removed,omitempty"` // they cannot come back
	Recoveries []Recovery `json:"recoveries,omitempty"`
	Storage    Storage    `json:"storage"`
	Tables     []Table    `json:"tables"`
}

// Removed is a node that was a member.
type Removed struct {
	ID             string `json:"id"`
	Kind           string `json:"kind"` // of the change that took it out
	CatalogVersion uint64 `json:"catalog_version"`
}

// Recovery is a time when a majority of the members was given up for lost.
type Recovery struct {
	Generation uint64    `json:"generation"` // since then
	At         time.Time `json:"at"`
	By         string    `json:"by"` // the node that was asked for it
	Survivors  []string  `json:"survivors"`
	Reason     string    `json:"reason"`
}

// Member is one node of the cluster as this node sees it.
type Member struct {
	ID         string     `json:"id"`
	HTTP       string     `json:"http"`
	Internode  string     `json:"internode"`
	Gossip     string     `json:"gossip"`
	Admin      string     `json:"admin"`
	Zone       string     `json:"zone"`
	Datacenter string     `json:"datacenter"`
	State      string     `json:"state"`
	Voter      bool       `json:"voter"`
	Self       bool       `json:"self,omitempty"`
	Alive      bool       `json:"alive"`
	Since      *time.Time `json:"since,omitempty"` // of the last change of Alive, as gossip saw it
	Detail     string     `json:"detail,omitempty"`
	// Ranges that the member owns, and replicas that it holds of all ranges, for
	// the built-in keyspace.
	RangesOwned  int `json:"ranges_owned"`
	ReplicasHeld int `json:"replicas_held"`
}

// Storage is what this node keeps on disk.
type Storage struct {
	Bytes        uint64 `json:"bytes"`
	RowsEstimate uint64 `json:"rows_estimate"`
}

// Table is one table, with this node's share of it.
type Table struct {
	Name             string     `json:"name"`
	Bytes            uint64     `json:"bytes"` // on this node's disk, logs not counted
	Windows          int        `json:"windows,omitempty"`
	WindowSeconds    int64      `json:"window_seconds,omitempty"`
	RetentionSeconds int64      `json:"retention_seconds,omitempty"` // 0: unlimited
	Floor            *time.Time `json:"floor,omitempty"`             // nothing from before is kept
	Sloppy           bool       `json:"sloppy"`                      // other nodes may stand in for replicas that are not alive
	ReadRepair       string     `json:"read_repair"`                 // blocking, async or off
}

// Hints is what a node keeps for others that missed writes.
type Hints struct {
	Enabled bool         `json:"enabled"`
	Targets []HintTarget `json:"targets"`
}

// HintTarget is what is kept for one node. Counted hints made an acknowledgement
// true (levels any and sloppy) and are never dropped.
type HintTarget struct {
	Node    string    `json:"node"`
	Alive   bool      `json:"alive"`
	Plain   HintQueue `json:"plain"`
	Counted HintQueue `json:"counted"`
}

// HintQueue is one queue of hints.
type HintQueue struct {
	Hints            int64      `json:"hints"`
	Rows             int64      `json:"rows"`
	Bytes            int64      `json:"bytes"`
	Oldest           *time.Time `json:"oldest,omitempty"` // when it was kept
	Replaying        bool       `json:"replaying"`
	Replayed         int64      `json:"replayed"` // hints, since the start of this node
	BytesPerSecond   float64    `json:"bytes_per_second,omitempty"`
	RemainingSeconds float64    `json:"remaining_seconds,omitempty"` // at that rate; 0: unknown
	DamagedHints     int64      `json:"damaged_hints,omitempty"`     // of the hints: they cannot be read
	LastError        string     `json:"last_error,omitempty"`        // why the last replay stopped
}

// Repair is what anti-entropy has done on this node, and has before it.
type Repair struct {
	Enabled bool `json:"enabled"`
	// Round counts the times that every range was verified with every peer. Of the
	// present one Verified of Ranges (by keyspace and peer) are done.
	Round            uint64        `json:"round"`
	Started          *time.Time    `json:"started,omitempty"` // of the present round
	Verified         int           `json:"verified"`
	Ranges           int           `json:"ranges"`
	RemainingSeconds float64       `json:"remaining_seconds,omitempty"` // an estimate; 0: unknown
	Tables           []TableRepair `json:"tables"`
	Purge            Purge         `json:"purge"`
	Quarantined      []Quarantined `json:"quarantined,omitempty"`
	Scrub            Scrub         `json:"scrub"`
}

// Quarantined is a range of which something cannot be read: it takes writes and
// answers no reads. Phase: waiting (for all other replicas to answer), filling (from
// them), or kept (for a version that can decode it).
type Quarantined struct {
	Range  int       `json:"range"`
	Since  time.Time `json:"since"`
	Phase  string    `json:"phase"`
	Reason string    `json:"reason"`
}

// Scrub is how far the reading of everything is, which finds data that rots.
type Scrub struct {
	Started       time.Time  `json:"started"` // of this pass
	BytesRead     uint64     `json:"bytes_read"`
	BytesTotal    uint64     `json:"bytes_total"`      // about
	Passed        *time.Time `json:"passed,omitempty"` // when the last pass ended, since the start of this node
	DamagedLeaves uint64     `json:"damaged_leaves"`
}

// Purge is how far deletions and expired data were dropped on this node.
type Purge struct {
	// Fence: writes that were accepted until then are refused; null: none are.
	Fence *time.Time `json:"fence,omitempty"`
	// Waiting is when the oldest deletion was made, or data expired, that is still
	// stored; null: there is none.
	Waiting *time.Time     `json:"waiting,omitempty"`
	Blocked []PurgeBlocked `json:"blocked,omitempty"`
}

// PurgeBlocked is a node for which purging waits, on all nodes.
type PurgeBlocked struct {
	Node   string    `json:"node"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// TableRepair is one table's part of Repair.
type TableRepair struct {
	Name string `json:"name"`
	// OldestUnverifiedSeconds is how long ago any of its ranges was last seen equal
	// with any peer; NeverVerified counts those that never were.
	OldestUnverifiedSeconds float64 `json:"oldest_unverified_seconds"`
	NeverVerified           int     `json:"never_verified"`
	CleanLeaves             int     `json:"clean_leaves"`
	DirtyLeaves             int     `json:"dirty_leaves"`
	RowsRepaired            uint64  `json:"rows_repaired"` // pulled from peers since the start
	BytesRepaired           uint64  `json:"bytes_repaired"`
}

// Layout sums up the owner table, by keyspace.
type Layout struct {
	CatalogVersion uint64           `json:"catalog_version"`
	Ranges         int              `json:"ranges"`
	Keyspaces      []KeyspaceLayout `json:"keyspaces"`
}

// KeyspaceLayout is how one keyspace's replicas are spread.
type KeyspaceLayout struct {
	Keyspace          string       `json:"keyspace"`
	Strategy          string       `json:"strategy"`
	ReplicationFactor int          `json:"replication_factor"`
	ReplicaSets       int          `json:"replica_sets"` // distinct ones
	Balance           float64      `json:"balance"`      // most replicas on a node ÷ the mean
	Nodes             []NodeLayout `json:"nodes"`
}

// NodeLayout is one node's share of a keyspace.
type NodeLayout struct {
	ID           string `json:"id"`
	Zone         string `json:"zone"`
	RangesOwned  int    `json:"ranges_owned"`
	ReplicasHeld int    `json:"replicas_held"`
}
