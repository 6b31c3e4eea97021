package admin

import (
	"context"
	"slices"
	"time"
)

// Changing is the part of a node that changes who holds what. An error with a method
// Conflict() bool that reports true is a refusal by the state of the cluster; the
// others, no majority apart, blame the request.
type Changing interface {
	// Plan says what a change would move; nothing happens.
	Plan(ctx context.Context, r ChangeRequest) (LayoutPlan, error)
	// Change begins a change, or finds that it has begun or is done already.
	Change(ctx context.Context, r ChangeRequest) (LayoutPlan, error)
	// Abort drops the change on its way, or what a replace prepared; refused once reads
	// ask the new replicas.
	Abort(ctx context.Context) (Aborted, error)
	// Progress is what the change on its way has done; nil if there is none.
	Progress(ctx context.Context) (*ChangeProgress, error)
	// Recover raises the generation and makes the survivors the only members; a dry run
	// only returns what would keep it from that.
	Recover(ctx context.Context, r RecoverRequest) error
}

// Kinds of changes.
const (
	KindDecommission = "decommission" // Node hands over what it holds, and leaves
	KindRemove       = "remove"       // Node, and Nodes, are dead: the others fill up what they held
	KindReplace      = "replace"      // Node is dead: the next node that joins takes its ranges
	KindZone         = "zone"         // Node goes to Zone
	KindReplication  = "replication"  // Keyspace gets Factors
	KindJoin         = "join"         // only to plan: Add and Remove
)

// ChangeRequest asks for a change of the layout.
type ChangeRequest struct {
	Kind     string         `json:"kind"`
	Node     string         `json:"node,omitempty"`  // a member's id
	Nodes    []string       `json:"nodes,omitempty"` // remove: more members that are dead
	Zone     string         `json:"zone,omitempty"`
	Keyspace string         `json:"keyspace,omitempty"`
	Factors  map[string]int `json:"factors,omitempty"` // by datacenter
	Add      []string       `json:"add,omitempty"`     // zones of nodes that would join
	Remove   []string       `json:"remove,omitempty"`  // ids of members that would leave
}

// LayoutPlan is what a change would move, or moves.
type LayoutPlan struct {
	Kind          string     `json:"kind"`
	Started       bool       `json:"started"`
	Done          bool       `json:"done"` // there is nothing to do
	Change        uint64     `json:"change,omitempty"`
	Ranges        int        `json:"ranges"` // whose replicas change
	Nodes         []NodePlan `json:"nodes"`
	BytesEstimate uint64     `json:"bytes_estimate"`
	Warnings      []string   `json:"warnings,omitempty"`
	// GivesUp: another change is on its way, and only waits for the node no more; ask
	// again when that has finished.
	GivesUp bool `json:"gives_up,omitempty"`
}

// NodePlan is a node's part of a plan. Replicas are of all keyspaces.
type NodePlan struct {
	ID             string `json:"id"`
	Zone           string `json:"zone"`
	New            bool   `json:"new,omitempty"`
	Leaves         bool   `json:"leaves,omitempty"`
	Gains          int    `json:"gains"`
	Loses          int    `json:"loses"`
	BytesIn        uint64 `json:"bytes_in"`
	ReplicasBefore int    `json:"replicas_before"`
	ReplicasAfter  int    `json:"replicas_after"`
}

// Aborted is what was dropped.
type Aborted struct {
	Aborted bool   `json:"aborted"` // false: there was nothing to drop
	Kind    string `json:"kind,omitempty"`
	Change  uint64 `json:"change,omitempty"` // 0: it was only prepared
}

// ChangeProgress is how far the change on its way is.
type ChangeProgress struct {
	ID               uint64         `json:"id"`
	Kind             string         `json:"kind"`
	Phase            string         `json:"phase"` // announced, streaming or flipped
	Since            time.Time      `json:"since"`
	Driver           string         `json:"driver,omitempty"` // the node that takes it on
	Ranges           int            `json:"ranges"`           // replicas to fill
	Done             int            `json:"done"`             // of them complete
	BytesTotal       uint64         `json:"bytes_total"`      // about
	BytesDone        uint64         `json:"bytes_done"`
	RowsDone         uint64         `json:"rows_done"`
	BytesPerSecond   float64        `json:"bytes_per_second,omitempty"`
	RemainingSeconds float64        `json:"remaining_seconds,omitempty"` // an estimate; 0: unknown
	Nodes            []NodeProgress `json:"nodes,omitempty"`
	Waiting          []string       `json:"waiting,omitempty"` // who holds it up, and what can be done
}

// NodeProgress is a node's part of a change's progress.
type NodeProgress struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Ranges    int    `json:"ranges"`
	Done      int    `json:"done"`
	BytesDone uint64 `json:"bytes_done"`
}

// RecoverRequest gives up a majority for lost.
type RecoverRequest struct {
	Survivors   []string `json:"survivors"`    // ids of members
	ClusterName string   `json:"cluster_name"` // must be the cluster's: a confirmation
	Reason      string   `json:"reason"`       // is kept in the catalog
	DryRun      bool     `json:"dry_run,omitempty"`
}

// missing is the field that a request lacks or has too much, and what to do about
// it; empty: none. Whether nodes exist is for the node to say.
func (r *ChangeRequest) missing(planned bool) (field, detail string) {
	if len(r.Nodes) > 0 && r.Kind != KindRemove {
		return "nodes", "only remove takes several nodes"
	}
	switch r.Kind {
	case KindDecommission, KindRemove, KindReplace, KindZone:
		if r.Node == "" {
			return "node", "give the node's id"
		}
		if r.Kind == KindZone && r.Zone == "" {
			return "zone", "give the zone that the node goes to"
		}
	case KindReplication:
		if r.Keyspace == "" {
			return "keyspace", "give the keyspace"
		}
		if len(r.Factors) == 0 {
			return "factors", `give replicas by datacenter, such as {"dc1": 3}`
		}
		for _, factor := range r.Factors {
			if factor < 1 {
				return "factors", "each datacenter needs at least 1 replica"
			}
		}
	case KindJoin:
		if !planned {
			return "kind", "a node joins by being started with --join; join can only be planned"
		}
		if len(r.Add)+len(r.Remove) == 0 {
			return "add", "give the zones of nodes that would join, or in remove the ids of members that would leave"
		}
		if slices.Contains(r.Add, "") {
			return "add", "a zone's name cannot be empty"
		}
		return "", ""
	default:
		return "kind", "give decommission, remove, replace, zone or replication; to plan also join"
	}
	if len(r.Add)+len(r.Remove) > 0 {
		return "add", "add and remove go with kind join alone"
	}
	return "", ""
}
