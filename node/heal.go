package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/antientropy"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// openAntiEntropy builds what makes replicas equal in the background.
func (n *Node) openAntiEntropy() error {
	if !n.cfg.AntiEntropy.Enabled {
		return nil
	}
	var err error
	n.antientropy, err = antientropy.New(n.cfg.antientropy(), antientropy.Env{
		Self: n.catalog.Self(), Replica: n.replica, Marks: n.replica, Engine: n.engine, Clock: n.clock,
		Call: n.transport.ControlTo, Alive: liveness{n}.Alive,
		Logger: n.log, Registerer: n.env.Registry,
	})
	return err
}

// compare answers a member's anti-entropy; nobody else is shown rows.
func (n *Node) compare(ctx context.Context, from transport.Hello, kind string, body []byte) ([]byte, error) {
	v := n.View()
	if v == nil || n.antientropy == nil {
		return nil, &transport.ControlError{Kind: "off", Text: "anti-entropy does not run here"}
	}
	if _, member := v.Ring.Index(from.Node); !member || from.Cluster != v.Cluster {
		return nil, &transport.ControlError{Kind: "refused", Text: fmt.Sprintf("node %s is no member of this cluster", from.Node)}
	}
	return n.antientropy.Handle(ctx, from.Node, kind, body)
}

// isAntiEntropy reports whether a control call is anti-entropy's.
func isAntiEntropy(kind string) bool { return strings.HasPrefix(kind, "antientropy.") }

// antiEntropyEvery is the pause of anti-entropy when it has nothing to do.
const antiEntropyEvery = time.Second

// returnsEvery is how often peers are looked at for whether they are back.
const returnsEvery = time.Second

// returns notices peers that are back, whose ranges are compared at once.
type returns struct {
	n     *Node
	alive map[ring.NodeID]bool
}

func newReturns(n *Node) *returns { return &returns{n: n, alive: map[ring.NodeID]bool{}} }

// step is a job.
func (r *returns) step(context.Context) (idle bool, err error) {
	v := r.n.View()
	if v == nil {
		return true, nil
	}
	live := liveness{r.n}
	for i := range v.Ring.Members() {
		id := v.Ring.Member(uint16(i)).ID
		if id == r.n.Self() {
			continue
		}
		alive := live.Alive(id)
		if alive && !r.alive[id] && r.n.antientropy != nil {
			r.n.antientropy.Hurry(antientropy.Scope{Peer: id})
		}
		r.alive[id] = alive
	}
	return true, nil
}

// dropped hears of writes that no hint carries to a replica: its ranges are
// compared at once. No ranges means all.
func (n *Node) dropped(target ring.NodeID, ranges []token.RangeID) {
	if n.antientropy != nil {
		n.antientropy.Hurry(antientropy.Scope{Peer: target, Ranges: ranges})
	}
}

// Repair is what anti-entropy has done and has before it.
func (n *Node) Repair() admin.Repair {
	if n.antientropy == nil {
		return admin.Repair{}
	}
	s := n.antientropy.Status()
	r := admin.Repair{
		Enabled: true, Round: s.Round, Verified: s.Verified, Ranges: s.Ranges, RemainingSeconds: s.Remaining.Seconds(),
	}
	if !s.Started.IsZero() {
		r.Started = &s.Started
	}
	for _, t := range s.Tables {
		r.Tables = append(r.Tables, admin.TableRepair{
			Name: t.Keyspace + "." + t.Table, OldestUnverifiedSeconds: t.OldestUnverified.Seconds(), NeverVerified: t.Never,
			CleanLeaves: t.Clean, DirtyLeaves: t.Dirty, RowsRepaired: t.Rows, BytesRepaired: t.Bytes,
		})
	}
	return r
}

// RepairNow hurries anti-entropy: for one table, or all if it is empty. The error
// may be a *schema.NotFoundError.
func (n *Node) RepairNow(table string) error {
	v := n.View()
	switch {
	case n.antientropy == nil:
		return errors.New("anti-entropy is switched off: antientropy.enabled")
	case v == nil:
		return errors.New("this node has not joined a cluster yet")
	}
	var scope antientropy.Scope
	if table != "" {
		keyspace, name, _ := strings.Cut(table, ".")
		t := v.TableNamed(keyspace, name)
		if t == nil {
			return &schema.NotFoundError{Table: table}
		}
		scope.Table = t.ID
	}
	n.antientropy.Hurry(scope)
	return nil
}
