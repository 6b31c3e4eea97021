package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/membership"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/transport"
)

// searchEvery is how often seeds are asked for members that cannot be reached.
const searchEvery = 5 * time.Second

// searcher finds members that are elsewhere than the catalog says.
type searcher struct {
	n      *Node
	gossip []membership.Peer
}

// step is a job. Who answers at a seed says who it is and where, and hears the same
// of this node: that is all that nodes need which have all been given new addresses. If
// these are each other's, no seed is needed: they meet by dialling the recorded ones.
func (s *searcher) step(ctx context.Context) (idle bool, err error) {
	n := s.n
	v, g := n.View(), n.gossip()
	if v == nil || g == nil {
		return true, nil
	}
	if peers := n.gossipPeers(v); !slices.Equal(peers, s.gossip) {
		s.gossip = peers
		g.SetPeers(peers)
	}
	for _, p := range n.transport.Status() {
		if !p.Connected {
			n.ask(ctx, append(n.seeds(), n.deserted(v)...))
			break
		}
	}
	return true, nil
}

// deserted lists the recorded addresses of members that are elsewhere, of this node too.
func (n *Node) deserted(v *schema.View) (all []string) {
	for i := range v.Ring.Members() {
		m := v.Ring.Member(uint16(i))
		at := n.cfg.catalog().Addresses.Internode
		if m.ID != n.Self() {
			at = n.transport.Where(transport.Peer{ID: m.ID, Address: m.Internode})
		}
		if at != m.Internode {
			all = append(all, m.Internode)
		}
	}
	return all
}

// ask says hello at some addresses.
func (n *Node) ask(ctx context.Context, addresses []string) {
	ctx, cancel := context.WithTimeout(ctx, searchEvery)
	defer cancel()
	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() {
			if _, err := n.transport.Probe(ctx, address); err != nil {
				n.log.Debug("nobody found", "address", address, "error", err)
			}
		})
	}
	all.Wait()
}

// gossipPeers are the members that gossip is to be in touch with: where they have said
// to be themselves, if they were met.
func (n *Node) gossipPeers(v *schema.View) (peers []membership.Peer) {
	said := map[ring.NodeID]string{}
	for _, p := range n.transport.Status() {
		said[p.ID] = p.Hello.Addresses.Gossip
	}
	for i := range v.Ring.Members() {
		if m := v.Ring.Member(uint16(i)); m.ID != n.catalog.Self() {
			peers = append(peers, membership.Peer{ID: m.ID, Address: cmp.Or(said[m.ID], m.Gossip)})
		}
	}
	return peers
}
