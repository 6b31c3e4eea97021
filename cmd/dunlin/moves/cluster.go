package moves

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
)

// Cluster is the admin ports of a cluster's members.
type Cluster struct {
	ports    []*client.Admin // the first is asked first
	every    time.Duration   // between two looks at a change
	patience time.Duration   // with ports of which none answers
}

// Connect asks a port for the cluster's status, and remembers the other members.
func Connect(ctx context.Context, c *client.Admin) (*Cluster, admin.Status, error) {
	cluster := &Cluster{ports: []*client.Admin{c}, every: time.Second, patience: 30 * time.Second}
	s, err := cluster.Status(ctx)
	if err != nil {
		return nil, s, err
	}
	for _, m := range s.Members {
		if m.Self || m.Admin == "" {
			continue
		}
		if other, err := client.NewAdmin("http://" + m.Admin); err == nil { // an address that is no URL cannot be asked
			cluster.ports = append(cluster.ports, other)
		}
	}
	return cluster, s, nil
}

// Status is the cluster as the port sees it that answers first.
func (c *Cluster) Status(ctx context.Context) (s admin.Status, err error) {
	raw, err := c.ask(ctx, (*client.Admin).Status)
	if err != nil {
		return s, err
	}
	return s, decode(raw, &s)
}

// Progress is how far the change on its way is; nil if there is none.
func (c *Cluster) Progress(ctx context.Context) (*admin.ChangeProgress, error) {
	raw, err := c.ask(ctx, (*client.Admin).Progress)
	if err != nil || raw == nil {
		return nil, err
	}
	p := &admin.ChangeProgress{}
	return p, decode(raw, p)
}

// ask goes round the ports until one answers, and stays with that one.
func (c *Cluster) ask(ctx context.Context, question func(*client.Admin, context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	var first error
	for i, port := range c.ports {
		raw, err := question(port, ctx)
		var p *client.Problem
		if err == nil || ctx.Err() != nil || errors.As(err, &p) && !p.Retryable() {
			c.ports[0], c.ports[i] = c.ports[i], c.ports[0]
			return raw, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// Follow shows how far a change is until it is not on its way any more. Without an
// id it is the one that is found first.
func (c *Cluster) Follow(ctx context.Context, id uint64, show Show) error {
	defer show(nil)
	since := time.Now() // when a port answered last
	for {
		p, err := c.Progress(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			since = time.Now()
			if p == nil || id != 0 && p.ID != id {
				return nil
			}
			id = p.ID
			show(p)
		case time.Since(since) > c.patience:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.every):
		}
	}
}

// ErrAborted ends a wait for a change that was dropped.
var ErrAborted = errors.New("the change was aborted; the layout is as it was before")

// Wait follows a change until it is done.
func (c *Cluster) Wait(ctx context.Context, r client.ChangeRequest, id uint64, show Show) error {
	for {
		err := c.Follow(ctx, id, show)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("interrupted (%w); the change goes on without this command: dunlin layout status --watch", ctx.Err())
		case err != nil:
			return err
		}
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if s.Change != nil && s.Change.ID == id {
			continue // the port that answers now has not seen its end yet
		}
		done, err := c.done(ctx, r, s)
		if err == nil && !done {
			err = ErrAborted
		}
		return err
	}
}

// done reports whether the cluster is as a request wanted it.
func (c *Cluster) done(ctx context.Context, r client.ChangeRequest, s admin.Status) (bool, error) {
	m := Member(s.Members, r.Node)
	switch r.Kind {
	case admin.KindDecommission, admin.KindRemove:
		for _, id := range r.Nodes {
			if Member(s.Members, id) != nil {
				return false, nil
			}
		}
		return m == nil, nil
	case admin.KindZone:
		return m != nil && m.Zone == r.Zone, nil
	}
	raw, err := c.ask(ctx, func(a *client.Admin, ctx context.Context) (json.RawMessage, error) { return a.Plan(ctx, r) })
	if err != nil {
		return false, err
	}
	var plan admin.LayoutPlan
	err = decode(raw, &plan)
	return plan.Done, err
}

func decode(raw json.RawMessage, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
