package antientropy

import (
	"github.com/dunlindb/dunlin/antientropy/ledger"
	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// openAccounts opens the accounts of the peers that were met.
func (a *AntiEntropy) openAccounts(v *schema.View) error {
	var keys []ledger.Key
	for _, p := range a.plan.order {
		for placement := range v.Ring.Placements() {
			if name := share.Keyspace(v, placement); name != "" {
				keys = append(keys, ledger.Key{Keyspace: name, Peer: p.id})
			}
		}
	}
	return a.ledger.Open(v, keys, hlc.FromTime(a.env.Clock.Physical()))
}

// moment is when a comparison with a peer began.
type moment struct{ at, level hlc.Timestamp }

func (a *AntiEntropy) moment(peer ring.NodeID) (m moment, err error) {
	m.level = a.purge.Level(peer)
	m.at, err = a.env.Clock.Now()
	return m, err
}

// credit records a verification.
func (a *AntiEntropy) credit(v *schema.View, t message.Target, peer ring.NodeID, since moment) {
	a.ledger.Credit(ledger.Key{Keyspace: share.Keyspace(v, t.Placement), Peer: peer}, t.ID, since.at, since.level)
}

// Verified returns when the session began that last verified a range of a keyspace
// with a peer; 0 if none has.
func (a *AntiEntropy) Verified(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp {
	return a.ledger.Verified(ledger.Key{Keyspace: keyspace, Peer: peer}, id)
}

// VerifiedBy reports whether a range of a keyspace was verified with a peer since its
// replicas last changed, once this node compares by a view.
func (a *AntiEntropy) VerifiedBy(v *schema.View, keyspace string, id token.RangeID, peer ring.NodeID) bool {
	return a.ledger.VerifiedBy(ledger.Key{Keyspace: keyspace, Peer: peer}, id, v)
}

// PurgePoint is purge.Keeper's Point.
func (a *AntiEntropy) PurgePoint(keyspace string, id token.RangeID) int64 {
	return a.purge.Point(keyspace, id)
}

// Level is purge.Ledger's.
func (a *AntiEntropy) Level(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp {
	return a.ledger.Level(keyspace, id, peer)
}
