package moves

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/client"
)

// port is a fake admin port, which tells of a change for so many looks.
type port struct {
	status admin.Status
	then   admin.Status // when no look is left
	looks  int
	plan   admin.LayoutPlan
}

func (p *port) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body any
	switch r.URL.Path {
	case "/v1/status":
		body = p.status
	case "/v1/layout/plan":
		body = p.plan
	case "/v1/layout/change":
		p.looks--
		if p.looks < 0 {
			p.status = p.then
			w.WriteHeader(http.StatusNoContent)
			return
		}
		body = admin.ChangeProgress{ID: 7, Kind: "decommission", Phase: "streaming", BytesTotal: 10, BytesDone: uint64(p.looks)}
	}
	_ = json.NewEncoder(w).Encode(body) // the recorder of httptest takes all
}

func connect(t *testing.T, h http.Handler) (*Cluster, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := client.NewAdmin(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cluster, _, err := Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	cluster.every, cluster.patience = time.Millisecond, 0
	return cluster, server
}

// TestWait: a change is done when the cluster is as it was asked for, and aborted
// otherwise.
func TestWait(t *testing.T) {
	with := admin.Status{Members: []admin.Member{{ID: "a", Zone: "z1"}, {ID: "b", Zone: "z1"}}}
	without := admin.Status{Members: []admin.Member{{ID: "a", Zone: "z1"}}}
	moved := admin.Status{Members: []admin.Member{{ID: "a", Zone: "z1"}, {ID: "b", Zone: "z2"}}}
	for _, c := range []struct {
		request client.ChangeRequest
		then    admin.Status
		plan    admin.LayoutPlan
		aborted bool
	}{
		{client.ChangeRequest{Kind: "decommission", Node: "b"}, without, admin.LayoutPlan{}, false},
		{client.ChangeRequest{Kind: "decommission", Node: "b"}, with, admin.LayoutPlan{}, true},
		{client.ChangeRequest{Kind: "remove", Node: "b"}, without, admin.LayoutPlan{}, false},
		{client.ChangeRequest{Kind: "remove", Node: "c", Nodes: []string{"b"}}, with, admin.LayoutPlan{}, true},
		{client.ChangeRequest{Kind: "zone", Node: "b", Zone: "z2"}, moved, admin.LayoutPlan{}, false},
		{client.ChangeRequest{Kind: "zone", Node: "b", Zone: "z2"}, with, admin.LayoutPlan{}, true},
		{client.ChangeRequest{Kind: "replication", Keyspace: "k"}, with, admin.LayoutPlan{Done: true}, false},
		{client.ChangeRequest{Kind: "replication", Keyspace: "k"}, with, admin.LayoutPlan{}, true},
	} {
		cluster, _ := connect(t, &port{status: with, then: c.then, looks: 3, plan: c.plan})
		seen, ended := 0, false
		err := cluster.Wait(t.Context(), c.request, 7, func(p *admin.ChangeProgress) {
			seen, ended = seen+1, p == nil
		})
		if errors.Is(err, ErrAborted) != c.aborted || (err != nil) != c.aborted {
			t.Errorf("%v: %v", c.request, err)
		}
		if seen != 4 || !ended {
			t.Errorf("%v: told %d times, at last of the end: %v", c.request, seen, ended)
		}
	}
}

// TestTheAskedNodeLeaves: when the port that was given is gone, another member tells
// of the end.
func TestTheAskedNodeLeaves(t *testing.T) {
	other := httptest.NewServer(&port{status: admin.Status{Members: []admin.Member{{ID: "a"}}}, looks: 1})
	defer other.Close()
	address := strings.TrimPrefix(other.URL, "http://")
	status := admin.Status{Members: []admin.Member{{ID: "a", Admin: address}, {ID: "b", Self: true}, {ID: "c"}}}
	cluster, server := connect(t, &port{status: status, looks: 1 << 30})
	cluster.patience = time.Minute
	looks := 0
	err := cluster.Wait(t.Context(), client.ChangeRequest{Kind: "decommission", Node: "b"}, 7, func(*admin.ChangeProgress) {
		if looks++; looks == 2 {
			server.Close()
		}
	})
	if err != nil || looks < 4 {
		t.Errorf("%v, after %d looks", err, looks)
	}
}

// TestAnotherChange: a change is over when another one is on its way.
func TestAnotherChange(t *testing.T) {
	cluster, _ := connect(t, &port{looks: 1 << 30})
	if err := cluster.Follow(t.Context(), 6, func(*admin.ChangeProgress) {}); err != nil {
		t.Error(err)
	}
}

func TestWaitEnds(t *testing.T) {
	cluster, server := connect(t, &port{looks: 1 << 30})
	ctx, cancel := context.WithCancel(t.Context())
	err := cluster.Wait(ctx, client.ChangeRequest{Kind: "zone"}, 7, func(*admin.ChangeProgress) { cancel() })
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "goes on without this command") {
		t.Errorf("interrupted: %v", err)
	}
	server.Close()
	if err := cluster.Wait(t.Context(), client.ChangeRequest{Kind: "zone"}, 7, func(*admin.ChangeProgress) {}); err == nil {
		t.Error("nobody answers")
	}
}
