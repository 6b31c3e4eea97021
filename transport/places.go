package transport

import (
	"maps"
	"slices"

	"github.com/dunlindb/dunlin/ring"
)

// A peer may be elsewhere than its recorded address says: it was restarted with another
// one, which may have been that of a third node, and the record is changed only
// when a majority can be reached. Who is where is told by hellos and by gossip. What was
// told is tried first and the record next, in turns; that costs a dial when it is wrong
// and nothing else, since a peer is who its hello says, wherever it is.

// places lists where a peer may be, the likeliest first.
func places(told, recorded string) []string {
	if told == "" || told == recorded {
		return []string{recorded}
	}
	return []string{told, recorded}
}

// place is where the peer is dialled.
func (p *peer) place() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places[0]
}

// elsewhere goes on to the next place where the peer may be.
func (p *peer) elsewhere() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.places = append(slices.Clone(p.places[1:]), p.places[0])
}

// aim changes where the peer may be. It is dialled where it was up to now, unless that
// is none of the places any more: then it reports false, and changes nothing.
func (p *peer) aim(told, recorded string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := places(told, recorded)
	if !slices.Contains(list, p.places[0]) {
		return false
	}
	if list[0] != p.places[0] {
		slices.Reverse(list)
	}
	p.places, p.recorded = list, recorded
	return true
}

// Where is the address at which a node is dialled: of a peer, where it was last found
// or has told to be; else the given one.
func (t *Transport) Where(node Peer) string {
	if p := t.peer(node.ID); p != nil && !p.local {
		return p.place()
	}
	return node.Address
}

// Heard takes note of where a peer is, as others tell. Its own hello counts for more.
func (t *Transport) Heard(id ring.NodeID, address string) { t.heard(id, address, 0) }

// heard takes note of where a peer says that it is, in its start of some number. If it is
// not connected, or was so only in an earlier start, it is dialled there at once.
func (t *Transport) heard(id ring.NodeID, address string, boot uint64) {
	if address == "" || id == t.env.Self {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	byID := t.peers.Load().byID
	p := byID[id]
	if p == nil {
		return
	}
	t.told[id] = address
	h := p.hello.Load()
	if p.place() != address && (!p.connected.Load() || h == nil || boot > h.Boot) {
		set := maps.Clone(byID)
		set[id] = t.newPeer(Peer{ID: id, Address: p.recorded})
		t.replace(set)
		return
	}
	p.aim(address, p.recorded)
}

// meet takes note of where a node is that was met without looking for it, if it is a
// peer and was not known to be there.
func (t *Transport) meet(ours, theirs Hello) {
	address := theirs.Addresses.Internode
	if p := t.peer(theirs.Node); p == nil || p.local || address == "" || p.place() == address {
		return
	}
	if t.admit(ours, theirs) == nil {
		t.heard(theirs.Node, address, theirs.Boot)
	}
}
