package antientropy

import (
	"encoding/binary"
	"fmt"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// ledger says when each range was last verified, by keyspace and peer.
type ledger map[accountKey]*account

type accountKey struct {
	keyspace string
	peer     ring.NodeID
}

// account is one keyspace and peer. Times are starts of sessions.
type account struct {
	epoch    message.Epoch // of the view that it is right for
	opened   hlc.Timestamp // when it was first wanted
	verified [token.Ranges]hlc.Timestamp
	levels   [token.Ranges]hlc.Timestamp // purge.Keeper's Level of the peer then
	changed  bool                        // since it was persisted
}

const (
	accountVersion = 2 // 1 had no levels
	accountSize    = 1 + 8*(3+2*token.Ranges)
)

func (k accountKey) metaKey() string {
	return "antientropy/verified/" + k.keyspace + "/" + k.peer.String()
}

func (a *account) encode() []byte {
	b := make([]byte, 0, accountSize)
	b = binary.BigEndian.AppendUint64(append(b, accountVersion), a.epoch.Generation)
	b = binary.BigEndian.AppendUint64(b, a.epoch.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(a.opened))
	for i := range a.verified {
		b = binary.BigEndian.AppendUint64(b, uint64(a.verified[i]))
		b = binary.BigEndian.AppendUint64(b, uint64(a.levels[i]))
	}
	return b
}

// decodeAccount reads a persisted account; false if it is none of this version.
func decodeAccount(b []byte) (*account, bool) {
	if len(b) != accountSize || b[0] != accountVersion {
		return nil, false
	}
	next := func() uint64 {
		v := binary.BigEndian.Uint64(b)
		b = b[8:]
		return v
	}
	b = b[1:]
	a := &account{epoch: message.Epoch{Generation: next(), Version: next()}, opened: hlc.Timestamp(next())}
	for i := range a.verified {
		a.verified[i], a.levels[i] = hlc.Timestamp(next()), hlc.Timestamp(next())
	}
	return a, true
}

// renew makes an account right for a view: what was verified of a range before
// its replicas changed says nothing about those of now.
func (a *account) renew(v *schema.View) {
	for id := range token.RangeID(token.Ranges) {
		if a.epoch.Generation != v.Generation || v.Ring.ChangedAt(id) > a.epoch.Version {
			a.verified[id], a.levels[id] = 0, 0
		}
	}
	a.epoch, a.changed = epochOf(v), true
}

// openAccounts loads the accounts of a view's peers, and closes those of others.
func (a *AntiEntropy) openAccounts(v *schema.View) error {
	wanted := map[accountKey]*account{}
	for _, p := range a.plan.order {
		for _, t := range p.targets {
			wanted[accountKey{keyspaceOf(v, t.Placement), p.id}] = nil
		}
	}
	a.mu.Lock()
	for k := range wanted {
		wanted[k] = a.ledger[k]
	}
	a.mu.Unlock()
	for k, known := range wanted {
		if known != nil {
			continue
		}
		b, _, err := a.env.Engine.Meta().Get(k.metaKey())
		if err != nil {
			return fmt.Errorf("antientropy: what was verified: %w", err)
		}
		loaded, ok := decodeAccount(b)
		if !ok {
			loaded = &account{epoch: epochOf(v), opened: hlc.FromTime(a.env.Clock.Physical())}
		}
		wanted[k] = loaded
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger = wanted
	for _, account := range wanted {
		if account.epoch != epochOf(v) {
			account.renew(v)
		}
	}
	return nil
}

// keyspaceOf names a placement by a table of it; "" if it has none, and so nothing
// to verify.
func keyspaceOf(v *schema.View, placement int) string {
	for _, t := range v.Tables() {
		if t.Placement == placement {
			return t.Keyspace
		}
	}
	return ""
}

// credit records a verification.
func (a *AntiEntropy) credit(v *schema.View, t message.Target, peer ring.NodeID, since moment) {
	k := accountKey{keyspaceOf(v, t.Placement), peer}
	a.mu.Lock()
	defer a.mu.Unlock()
	if account := a.ledger[k]; account != nil && account.verified[t.ID] < since.at {
		account.verified[t.ID], account.changed = since.at, true
		account.levels[t.ID] = max(account.levels[t.ID], since.level)
	}
}

// moment is when a comparison with a peer began.
type moment struct {
	at    hlc.Timestamp
	level hlc.Timestamp // purge.Keeper's Level of the peer
}

func (a *AntiEntropy) moment(peer ring.NodeID) (m moment, err error) {
	m.level = a.purge.Level(peer)
	m.at, err = a.env.Clock.Now()
	return m, err
}

// Level returns the largest timestamp such that all that was born at or below it
// and ever reached this node or the peer was made equal; 0 if none is known.
func (a *AntiEntropy) Level(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp {
	a.mu.Lock()
	defer a.mu.Unlock()
	if account := a.ledger[accountKey{keyspace, peer}]; account != nil {
		return account.levels[id]
	}
	return 0
}

// persist writes the accounts that have changed.
func (a *AntiEntropy) persist() error {
	changed := map[string][]byte{}
	a.mu.Lock()
	for k, account := range a.ledger {
		if account.changed {
			account.changed = false
			changed[k.metaKey()] = account.encode()
		}
	}
	a.mu.Unlock()
	for key, value := range changed {
		if err := a.env.Engine.Meta().Set(key, value); err != nil {
			return fmt.Errorf("antientropy: persist what was verified: %w", err)
		}
	}
	return nil
}

// Verified returns when the session began that last verified a range of a keyspace
// with a peer; 0 if none has.
func (a *AntiEntropy) Verified(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp {
	a.mu.Lock()
	defer a.mu.Unlock()
	if account := a.ledger[accountKey{keyspace, peer}]; account != nil {
		return account.verified[id]
	}
	return 0
}
