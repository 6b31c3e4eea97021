package ledger

import (
	"fmt"
	"sync"

	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
)

// Key names an account.
type Key struct {
	Keyspace string
	Peer     ring.NodeID
}

func (k Key) meta() string { return "antientropy/verified/" + k.Keyspace + "/" + k.Peer.String() }

// Ledger is the accounts that a view asks for. It is safe for concurrent use.
type Ledger struct {
	meta *storage.Meta

	mu       sync.Mutex // guards accounts and what they point to
	accounts map[Key]*Account
}

// New makes a ledger without accounts.
func New(meta *storage.Meta) *Ledger { return &Ledger{meta: meta, accounts: map[Key]*Account{}} }

// Open loads the accounts that a view asks for, or opens them now, and closes the
// others.
func (l *Ledger) Open(v *schema.View, keys []Key, now hlc.Timestamp) error {
	wanted := map[Key]*Account{}
	l.mu.Lock()
	for _, k := range keys {
		wanted[k] = l.accounts[k]
	}
	l.mu.Unlock()
	for k, known := range wanted {
		if known != nil {
			continue
		}
		b, _, err := l.meta.Get(k.meta())
		if err != nil {
			return fmt.Errorf("antientropy: what was verified: %w", err)
		}
		loaded, ok := Decode(b)
		if !ok {
			loaded = &Account{Epoch: share.Epoch(v), Opened: now}
		}
		wanted[k] = loaded
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.accounts = wanted
	for _, a := range wanted {
		if a.Epoch != share.Epoch(v) {
			a.Renew(v)
		}
	}
	return nil
}

// Credit records a verification in a session that began at some time and level.
func (l *Ledger) Credit(k Key, id token.RangeID, at, level hlc.Timestamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[k]; a != nil && a.Verified[id] < at {
		a.Verified[id], a.Levels[id], a.Changed = at, max(a.Levels[id], level), true
	}
}

// Verified returns when the session began that last verified a range; 0 if none has.
func (l *Ledger) Verified(k Key, id token.RangeID) hlc.Timestamp {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[k]; a != nil {
		return a.Verified[id]
	}
	return 0
}

// VerifiedBy reports whether a range was verified since its replicas last changed, by
// an account that is right for a view.
func (l *Ledger) VerifiedBy(k Key, id token.RangeID, v *schema.View) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.accounts[k]
	return a != nil && a.Epoch == share.Epoch(v) && a.Verified[id] > 0
}

// Level returns the largest level at which a range was verified; 0 if it was not.
func (l *Ledger) Level(keyspace string, id token.RangeID, peer ring.NodeID) hlc.Timestamp {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.accounts[Key{keyspace, peer}]; a != nil {
		return a.Levels[id]
	}
	return 0
}

// Each shows all accounts, which see must not keep.
func (l *Ledger) Each(see func(Key, *Account)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, a := range l.accounts {
		see(k, a)
	}
}

// Persist writes the accounts that have changed.
func (l *Ledger) Persist() error {
	changed := map[string][]byte{}
	l.mu.Lock()
	for k, a := range l.accounts {
		if a.Changed {
			a.Changed = false
			changed[k.meta()] = a.Encode()
		}
	}
	l.mu.Unlock()
	for key, value := range changed {
		if err := l.meta.Set(key, value); err != nil {
			return fmt.Errorf("antientropy: persist what was verified: %w", err)
		}
	}
	return nil
}
