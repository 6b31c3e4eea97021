package ledger

import (
	"encoding/binary"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/antientropy/share"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// Account is what is known of one keyspace and peer. Times are starts of sessions.
type Account struct {
	Epoch    message.Epoch // of the view that it is right for
	Opened   hlc.Timestamp // when it was first wanted
	Verified [token.Ranges]hlc.Timestamp
	Levels   [token.Ranges]hlc.Timestamp // purge.Keeper's Level of the peer then
	Changed  bool                        // since it was persisted
}

const (
	accountVersion = 2 // 1 had no levels
	accountSize    = 1 + 8*(3+2*token.Ranges)
)

// Encode is how an account is persisted.
func (a *Account) Encode() []byte {
	b := make([]byte, 0, accountSize)
	b = binary.BigEndian.AppendUint64(append(b, accountVersion), a.Epoch.Generation)
	b = binary.BigEndian.AppendUint64(b, a.Epoch.Version)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Opened))
	for i := range a.Verified {
		b = binary.BigEndian.AppendUint64(b, uint64(a.Verified[i]))
		b = binary.BigEndian.AppendUint64(b, uint64(a.Levels[i]))
	}
	return b
}

// Decode reads a persisted account; false if it is none of this version.
func Decode(b []byte) (*Account, bool) {
	if len(b) != accountSize || b[0] != accountVersion {
		return nil, false
	}
	next := func() uint64 {
		v := binary.BigEndian.Uint64(b)
		b = b[8:]
		return v
	}
	b = b[1:]
	a := &Account{Epoch: message.Epoch{Generation: next(), Version: next()}, Opened: hlc.Timestamp(next())}
	for i := range a.Verified {
		a.Verified[i], a.Levels[i] = hlc.Timestamp(next()), hlc.Timestamp(next())
	}
	return a, true
}

// Renew makes an account right for a view: what was verified of a range before
// its replicas changed says nothing about those of now.
func (a *Account) Renew(v *schema.View) {
	for id := range token.RangeID(token.Ranges) {
		if a.Epoch.Generation != v.Generation || v.Ring.ChangedAt(id) > a.Epoch.Version {
			a.Verified[id], a.Levels[id] = 0, 0
		}
	}
	a.Epoch, a.Changed = share.Epoch(v), true
}
