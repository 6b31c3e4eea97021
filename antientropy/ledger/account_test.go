package ledger

import (
	"testing"

	"github.com/google/uuid"

	"github.com/dunlindb/dunlin/antientropy/message"
	"github.com/dunlindb/dunlin/hlc"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// view is of one node, whose ranges changed in version 1.
func view(t *testing.T) *schema.View {
	t.Helper()
	s := schema.Builtin(1, "dc1")
	address := "10.0.0.1:7481"
	layout := ring.Bootstrap(ring.Member{
		ID: ring.NodeID{1}, Addresses: ring.Addresses{Internode: address, Gossip: address, HTTP: address, Admin: address},
		Zone: "z1", Datacenter: "dc1", State: ring.Normal, Voter: true,
	}, 1)
	v, err := schema.NewView(schema.Identity{Cluster: uuid.UUID{9}, Version: 3, Sealed: true}, &layout, &s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestAccounts: what was verified comes back as it was written, but not of ranges
// whose replicas have changed since.
func TestAccounts(t *testing.T) {
	a := &Account{Epoch: message.Epoch{Version: 3}, Opened: 5}
	a.Verified[0], a.Verified[1023], a.Levels[5] = 7, 9, 3
	again, ok := Decode(a.Encode())
	if !ok || again.Verified != a.Verified || again.Levels != a.Levels || again.Opened != 5 || again.Epoch != a.Epoch {
		t.Errorf("%v %v", again, ok)
	}
	again.Renew(view(t))
	if again.Verified != a.Verified || again.Levels != a.Levels {
		t.Error("a view that changed no replicas made something unverified")
	}
	again.Epoch = message.Epoch{}
	if again.Renew(view(t)); again.Verified != [token.Ranges]hlc.Timestamp{} || again.Levels != [token.Ranges]hlc.Timestamp{} {
		t.Error("ranges whose replicas changed are verified")
	}
	for _, bad := range [][]byte{nil, {1}, append(a.Encode(), 0), append([]byte{1}, a.Encode()[1:]...)} {
		if _, ok := Decode(bad); ok {
			t.Errorf("%d bytes are read", len(bad))
		}
	}
}
