package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// ChangeRequest asks for a change of who holds what.
type ChangeRequest struct {
	Kind     string         `json:"kind"` // decommission, remove, replace, zone, replication; to plan also join
	Node     string         `json:"node,omitempty"`
	Nodes    []string       `json:"nodes,omitempty"` // remove: more members that are dead
	Zone     string         `json:"zone,omitempty"`
	Keyspace string         `json:"keyspace,omitempty"`
	Factors  map[string]int `json:"factors,omitempty"` // replicas by datacenter
	Add      []string       `json:"add,omitempty"`     // to plan: zones of nodes that would join
	Remove   []string       `json:"remove,omitempty"`  // to plan: ids of members that would leave
}

// RecoverRequest gives up a majority of the members for lost.
type RecoverRequest struct {
	Survivors   []string `json:"survivors"`
	ClusterName string   `json:"cluster_name"` // must be the cluster's
	Reason      string   `json:"reason"`
	DryRun      bool     `json:"dry_run,omitempty"` // only find out whether it is refused
}

// Plan returns what a change would move, as JSON; nothing happens.
func (a *Admin) Plan(ctx context.Context, r ChangeRequest) (json.RawMessage, error) {
	return a.send(ctx, "/v1/layout/plan", r)
}

// Change begins a change, or finds that it has begun or is done, and returns its
// plan.
func (a *Admin) Change(ctx context.Context, r ChangeRequest) (json.RawMessage, error) {
	return a.send(ctx, "/v1/layout/changes", r)
}

// Progress returns how far the change on its way is, as JSON; nil if there is none.
func (a *Admin) Progress(ctx context.Context) (json.RawMessage, error) {
	raw, err := a.call(ctx, http.MethodGet, "/v1/layout/change", nil)
	if len(raw) == 0 {
		return nil, err
	}
	return raw, err
}

// Abort drops the change on its way, and returns as JSON what it was, if there was one.
func (a *Admin) Abort(ctx context.Context) (json.RawMessage, error) {
	return a.call(ctx, http.MethodDelete, "/v1/layout/change", nil)
}

// Recover makes the survivors the only members, of a cluster that has lost its
// majority for good.
func (a *Admin) Recover(ctx context.Context, r RecoverRequest) error {
	_, err := a.send(ctx, "/v1/recover", r)
	return err
}

func (a *Admin) send(ctx context.Context, path string, request any) (json.RawMessage, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return a.call(ctx, http.MethodPost, path, body)
}
