package node

import (
	"cmp"
	"context"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Status is what the admin port shows of this node and its cluster.
func (n *Node) Status() (admin.Status, error) {
	reasons := n.Unready()
	s := admin.Status{
		Node: n.Self().String(), Version: n.cfg.Version, Boot: n.engine.Identity().Boot,
		UptimeSeconds: time.Since(n.started).Seconds(), Ready: len(reasons) == 0, Unready: reasons,
	}
	var err error
	if s.Storage, err = n.storageStatus(); err != nil {
		return s, err
	}
	v := n.View()
	if v == nil {
		return s, nil
	}
	doc := n.catalog.Document()
	s.Cluster, s.ClusterID, s.Generation = doc.Name, v.Cluster.String(), v.Generation
	addHistory(&s, doc)
	s.CatalogVersion, s.Sealed = v.Version, v.Sealed
	s.Members = n.memberStatus(v)
	s.Tables, err = n.tableStatus(v)
	return s, err
}

// addHistory adds who was removed and is to be replaced, and what was given up for lost.
func addHistory(s *admin.Status, doc *catalog.Document) {
	if doc.Replacing != nil {
		s.Replacing = doc.Replacing.String()
	}
	for _, r := range doc.Removed {
		s.Removed = append(s.Removed, admin.Removed{ID: r.ID.String(), Kind: r.Kind, CatalogVersion: r.Version})
	}
	for _, r := range doc.Recoveries {
		row := admin.Recovery{Generation: r.Generation, At: r.At, By: r.By.String(), Reason: r.Reason}
		for _, id := range r.Survivors {
			row.Survivors = append(row.Survivors, id.String())
		}
		s.Recoveries = append(s.Recoveries, row)
	}
}

func (n *Node) storageStatus() (admin.Storage, error) {
	stats, err := n.engine.Stats(nil)
	if err != nil {
		return admin.Storage{}, err
	}
	rows, err := n.engine.RowsEstimate()
	return admin.Storage{Bytes: stats.Bytes, RowsEstimate: rows}, err
}

func (n *Node) memberStatus(v *schema.View) []admin.Member {
	owned, held := shares(v.Ring, v.TableNamed(schema.BuiltinKeyspace, "events").Placement)
	alive := liveness{n}
	var all []admin.Member
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		row := admin.Member{
			ID: m.ID.String(), HTTP: m.HTTP, Internode: m.Internode, Gossip: m.Gossip, Admin: m.Admin,
			Zone: m.Zone, Datacenter: m.Datacenter, State: string(m.State), Voter: m.Voter,
			RangesOwned: owned[i], ReplicasHeld: held[i],
		}
		if m.ID == n.Self() {
			row.Self, row.Alive = true, true
		} else {
			row.Alive = alive.Alive(m.ID)
		}
		if g := n.gossip(); g != nil {
			if s := g.Status(m.ID); !s.Since.IsZero() && (s.Alive == row.Alive || row.Self) {
				row.Since = &s.Since // gossip lags behind transport: until it agrees there is no time to tell
			}
		}
		all = append(all, row)
	}
	for _, p := range n.transport.Status() {
		for i := range all {
			if all[i].ID == p.ID.String() && !all[i].Self && p.Err != nil {
				all[i].Detail = p.Err.Error()
			}
		}
	}
	return all
}

// shares counts the ranges that each member owns and the replicas that it holds.
func shares(r *ring.Ring, placement int) (owned, held []int) {
	owned, held = make([]int, r.Members()), make([]int, r.Members())
	for rng := range token.RangeID(token.Ranges) {
		owned[r.Owner(rng)]++
		for _, m := range r.Replicas(placement, rng) {
			held[m]++
		}
	}
	return owned, held
}

func (n *Node) tableStatus(v *schema.View) ([]admin.Table, error) {
	var ids []uint32
	for _, t := range v.Tables() {
		ids = append(ids, t.ID)
	}
	stats, err := n.engine.Stats(ids)
	if err != nil {
		return nil, err
	}
	var all []admin.Table
	for _, t := range v.Tables() {
		row := admin.Table{
			Name: t.Keyspace + "." + t.Name, Bytes: stats.Tables[t.ID].Bytes, Windows: stats.Tables[t.ID].Windows,
			WindowSeconds:    int64(time.Duration(t.Window) / time.Second),
			RetentionSeconds: int64(time.Duration(t.Retention) / time.Second),
			Sloppy:           t.Sloppy, ReadRepair: string(cmp.Or(t.ReadRepair, schema.RepairBlocking)),
		}
		if t.Floor > 0 {
			floor := t.Shape.WindowStart(t.Floor)
			row.Floor = &floor
		}
		all = append(all, row)
	}
	return all, nil
}

// Layout sums up the owner table; nil before this node is a member.
func (n *Node) Layout() *admin.Layout {
	doc, v := n.catalog.Document(), n.View()
	if doc == nil || v == nil {
		return nil
	}
	l := &admin.Layout{CatalogVersion: v.Version, Ranges: token.Ranges}
	placements := doc.Schema.Placements()
	for _, k := range doc.Schema.Keyspaces {
		for p, placement := range placements {
			if placement.Equal(k.Replication) {
				row := keyspaceLayout(v.Ring, p)
				row.Keyspace, row.Strategy, row.ReplicationFactor = k.Name, k.Replication.Strategy, k.Replication.Factor()
				l.Keyspaces = append(l.Keyspaces, row)
			}
		}
	}
	return l
}

func keyspaceLayout(r *ring.Ring, placement int) admin.KeyspaceLayout {
	owned, held := shares(r, placement)
	row := admin.KeyspaceLayout{ReplicaSets: r.Sets(placement)}
	most, sum := 0, 0
	for i := range owned {
		m := r.Member(uint16(i))
		row.Nodes = append(row.Nodes, admin.NodeLayout{ID: m.ID.String(), Zone: m.Zone, RangesOwned: owned[i], ReplicasHeld: held[i]})
		most, sum = max(most, held[i]), sum+held[i]
	}
	row.Balance = float64(most) * float64(len(held)) / float64(sum)
	return row
}

// SetTable changes settings of a table, and drops at once what a new retention no
// longer keeps.
func (n *Node) SetTable(ctx context.Context, table string, change schema.Settings) error {
	if err := n.catalog.SetTable(ctx, table, change); err != nil {
		return err
	}
	if err := n.skewed(); err != nil {
		return err
	}
	return n.catalog.AdvanceFloors(ctx, n.wall.Now())
}
