package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/node/planning"
	"github.com/dunlindb/dunlin/rebalance"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// Plan says what a change of the layout would move.
func (n *Node) Plan(ctx context.Context, r admin.ChangeRequest) (admin.LayoutPlan, error) {
	doc := n.catalog.Document()
	if doc == nil {
		return admin.LayoutPlan{}, catalog.ErrNoCatalog
	}
	plan := admin.LayoutPlan{Kind: planned(r), Nodes: []admin.NodePlan{}}
	with := planning.Plan{Document: *doc, Self: n.Self(), Alive: n.alive}
	outline, err := with.Outline(r)
	switch c := doc.Layout.Change; {
	case errors.Is(err, catalog.ErrUnderway):
		if outline, err = with.OnItsWay(); err != nil {
			return plan, err
		}
		plan.Started, plan.Change = true, c.ID
		plan.GivesUp = r.Kind == admin.KindRemove && slices.ContainsFunc(outline.Members, func(m rebalance.MemberOutline) bool {
			return m.ID.String() == r.Node && m.State != ring.Dead
		})
	case errors.Is(err, catalog.ErrUnchanged):
		plan.Done = true
		return plan, nil
	case err != nil:
		return plan, err
	case c != nil:
		plan.GivesUp = true
		plan.Warnings = []string{fmt.Sprintf("change %d (%s) is on its way and will not wait for node %s any more; ask again when it has finished", c.ID, c.Kind, r.Node)}
	}
	if r.Kind == admin.KindReplace && !plan.Done && plan.Change == 0 {
		plan.Warnings = append(plan.Warnings, "nothing moves until the new node is started with --join, in the same zone")
	}
	return plan, n.fill(ctx, &plan, outline)
}

// planned names what is planned.
func planned(r admin.ChangeRequest) string {
	switch {
	case r.Kind != admin.KindJoin || len(r.Remove) == 0:
		return r.Kind
	case len(r.Add) == 0:
		return admin.KindDecommission
	}
	return admin.KindJoin + ", " + admin.KindDecommission
}

// fill writes an outline into a plan, with the bytes that it is about.
func (n *Node) fill(ctx context.Context, plan *admin.LayoutPlan, o rebalance.Outline) error {
	each, err := n.replicaBytes(ctx)
	if err != nil {
		return err
	}
	plan.Ranges = o.Ranges
	for _, m := range o.Members {
		bytes := uint64(float64(m.Gains) * each)
		plan.BytesEstimate += bytes
		plan.Nodes = append(plan.Nodes, admin.NodePlan{
			ID: m.ID.String(), Zone: m.Zone, New: m.State == ring.Joining || m.Before == 0, Leaves: m.After == 0, Gains: m.Gains, Loses: m.Loses,
			BytesIn: bytes, ReplicasBefore: m.Before, ReplicasAfter: m.After,
		})
	}
	return nil
}

// replicaBytes is about how much one replica of a range takes, as far as members answer.
func (n *Node) replicaBytes(ctx context.Context) (float64, error) {
	v := n.View()
	if v == nil || n.rebalance == nil {
		return 0, nil
	}
	members, err := n.rebalance.Members(ctx, v)
	return meanReplica(v, members), err
}

// meanReplica is about how much one replica of a range takes, by what members hold that
// had replicas before the change on its way; 0: none of them did.
func meanReplica(v *schema.View, members []rebalance.MemberState) float64 {
	held, stored, replicas := make([]int, v.Ring.Members()), uint64(0), 0
	for p := range v.Ring.Placements() {
		_, each := shares(v.Ring, p)
		for i := range each {
			held[i] += each[i]
		}
	}
	for i := range members {
		m := &members[i]
		if at, ok := v.Ring.Index(m.ID); ok && m.Err == nil && held[at] > 0 {
			stored += m.Stored - min(m.Stored, m.Bytes) // what it has pulled for the change counts elsewhere
			replicas += held[at]
		}
	}
	return float64(stored) / float64(max(replicas, 1))
}

// Change begins a change of the layout, or finds that it was begun or is done already.
func (n *Node) Change(ctx context.Context, r admin.ChangeRequest) (admin.LayoutPlan, error) {
	plan, err := n.Plan(ctx, r)
	if err != nil || plan.Done || plan.Started {
		return plan, err
	}
	ids, err := planning.NodeIDs(r)
	if err != nil {
		return plan, err
	}
	id := ids[0]
	switch r.Kind {
	case admin.KindDecommission:
		err = n.Decommission(ctx, id)
	case admin.KindRemove:
		err = n.Remove(ctx, ids...)
	case admin.KindReplace:
		err = n.Replace(ctx, id)
	case admin.KindZone:
		err = n.MoveZone(ctx, id, r.Zone)
	case admin.KindReplication:
		err = n.Replicate(ctx, r.Keyspace, r.Factors)
	default:
		err = fmt.Errorf("node: a change of kind %q cannot be begun", r.Kind)
	}
	if err != nil && !errors.Is(err, catalog.ErrUnchanged) {
		return plan, err
	}
	plan.Started = true
	if c := n.catalog.Document().Layout.Change; c != nil {
		plan.Change = c.ID
	}
	return plan, nil
}

// Abort drops the change on its way, or what Replace prepared.
func (n *Node) Abort(ctx context.Context) (admin.Aborted, error) {
	kind, id, err := n.catalog.AbortAny(ctx)
	return admin.Aborted{Aborted: err == nil && kind != "", Kind: kind, Change: id}, err
}

// Progress is what the change on its way has done, on all nodes; nil if there is none.
func (n *Node) Progress(ctx context.Context) (*admin.ChangeProgress, error) {
	if n.rebalance == nil {
		return nil, nil
	}
	r, err := n.rebalance.Report(ctx)
	if err != nil || r.Change == nil {
		return nil, err
	}
	p := &admin.ChangeProgress{
		ID: r.Change.ID, Kind: r.Change.Kind, Phase: string(r.Change.Phase), Since: r.Since, Waiting: r.Waiting,
	}
	if r.Driver != uuid.Nil {
		p.Driver = r.Driver.String()
	}
	gains := map[ring.NodeID]int{}
	for _, move := range n.View().Ring.Moves() {
		for _, id := range move.Gained {
			gains[id]++
		}
	}
	for _, m := range r.Members {
		switch {
		case m.Err != nil: // what it has to do is known all the same
			m.Duties = gains[m.ID]
		case r.Change.Phase == ring.Flipped: // all are complete, whatever was compared since
			m.Done = m.Duties
		}
		p.Ranges, p.Done = p.Ranges+m.Duties, p.Done+m.Done
		p.BytesDone, p.RowsDone = p.BytesDone+m.Bytes, p.RowsDone+m.Rows
		if state := string(m.Member.State); m.Duties > 0 || m.Member.State != ring.Normal {
			p.Nodes = append(p.Nodes, admin.NodeProgress{ID: m.ID.String(), State: state, Ranges: m.Duties, Done: m.Done, BytesDone: m.Bytes})
		}
	}
	n.estimate(p, r.Members)
	return p, nil
}

// estimate adds how much there is to copy, about, and how long it takes.
func (n *Node) estimate(p *admin.ChangeProgress, members []rebalance.MemberState) {
	if p.Phase == string(ring.Flipped) {
		p.BytesTotal = p.BytesDone
		return
	}
	v, gains := n.View(), 0
	for _, m := range v.Ring.Moves() {
		gains += len(m.Gained)
	}
	p.BytesTotal = max(uint64(float64(gains)*meanReplica(v, members)), p.BytesDone)
	elapsed := time.Since(p.Since).Seconds()
	if p.Phase != string(ring.Streaming) || elapsed <= 0 {
		return
	}
	p.BytesPerSecond = float64(p.BytesDone) / elapsed
	// Ranges are pulled first and then compared, which takes about as long.
	share := 0.0
	if p.Ranges > 0 {
		share = float64(p.Done) / float64(p.Ranges)
	}
	if pulled := float64(p.BytesDone) / float64(max(p.BytesTotal, 1)); pulled < 0.9 {
		share = (share + pulled) / 2
	}
	if share > 0.01 {
		p.RemainingSeconds = elapsed * (1 - share) / share
	}
}

// Recover makes survivors of a lost majority the only voters, or says what keeps it from that.
func (n *Node) Recover(ctx context.Context, r admin.RecoverRequest) error {
	doc := n.catalog.Document()
	if doc == nil {
		return catalog.ErrNoCatalog
	}
	if r.ClusterName != doc.Name {
		return fmt.Errorf("node: this is cluster %q, not %q", doc.Name, r.ClusterName)
	}
	var survivors []ring.NodeID
	for _, s := range r.Survivors {
		id, err := planning.NodeID(s)
		if err != nil {
			return err
		}
		survivors = append(survivors, id)
	}
	do := n.catalog.Recover
	if r.DryRun {
		do = n.catalog.CheckRecovery
	}
	return do(ctx, survivors, r.Reason, n.wall.Now(), n.alive)
}
