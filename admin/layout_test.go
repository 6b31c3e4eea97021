package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dunlindb/dunlin/catalog"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/schema"
)

// fakeLayout is a Changing whose answers are set.
type fakeLayout struct {
	plan      LayoutPlan
	progress  *ChangeProgress
	changeErr error
	asked     []ChangeRequest // of Change
	planned   []ChangeRequest // of Plan
	recovered []RecoverRequest
	aborted   []Aborted // the answers of Abort
}

func (f *fakeLayout) Plan(_ context.Context, r ChangeRequest) (LayoutPlan, error) {
	f.planned = append(f.planned, r)
	return f.plan, f.changeErr
}

func (f *fakeLayout) Change(_ context.Context, r ChangeRequest) (LayoutPlan, error) {
	f.asked = append(f.asked, r)
	return f.plan, f.changeErr
}

func (f *fakeLayout) Abort(context.Context) (a Aborted, err error) {
	if len(f.aborted) > 0 {
		a, f.aborted = f.aborted[0], f.aborted[1:]
	}
	return a, f.changeErr
}

func (f *fakeLayout) Progress(context.Context) (*ChangeProgress, error) { return f.progress, nil }

func (f *fakeLayout) Recover(_ context.Context, r RecoverRequest) error {
	f.recovered = append(f.recovered, r)
	return f.changeErr
}

// conflict is an error that may be a refusal by the cluster's state.
type conflict bool

func (conflict) Error() string    { return "not while it is so" }
func (c conflict) Conflict() bool { return bool(c) }

func TestChangesReachTheNode(t *testing.T) {
	for _, c := range []struct {
		body string
		want ChangeRequest
	}{
		{`{"kind":"decommission","node":"a"}`, ChangeRequest{Kind: KindDecommission, Node: "a"}},
		{`{"kind":"remove","node":"a"}`, ChangeRequest{Kind: KindRemove, Node: "a"}},
		{`{"kind":"replace","node":"a"}`, ChangeRequest{Kind: KindReplace, Node: "a"}},
		{`{"kind":"zone","node":"a","zone":"z2"}`, ChangeRequest{Kind: KindZone, Node: "a", Zone: "z2"}},
		{`{"kind":"replication","keyspace":"k","factors":{"dc1":3}}`, ChangeRequest{Kind: KindReplication, Keyspace: "k", Factors: map[string]int{"dc1": 3}}},
	} {
		n := &fakeNode{}
		s := newServer(t, n, nil)
		n.plan = LayoutPlan{Kind: c.want.Kind, Started: true, Change: 7, Nodes: []NodePlan{{ID: "b", New: true, BytesIn: 9}}}
		if w := do(s, "POST /v1/layout/changes", c.body); w.Code != 202 || !strings.Contains(w.Body.String(), `"change":7`) ||
			w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
		}
		n.plan.Started, n.plan.Done = false, true
		if w := do(s, "POST /v1/layout/changes", c.body); w.Code != 200 || !strings.Contains(w.Body.String(), `"done":true`) {
			t.Errorf("%s, done: %d %s", c.body, w.Code, w.Body)
		}
		if w := do(s, "POST /v1/layout/plan", c.body); w.Code != 200 || !strings.Contains(w.Body.String(), `"new":true,"gains":0,"loses":0,"bytes_in":9`) {
			t.Errorf("%s, planned: %d %s", c.body, w.Code, w.Body)
		}
		if len(n.asked) != 2 || len(n.planned) != 1 || !reflect.DeepEqual(n.asked[0], c.want) || !reflect.DeepEqual(n.planned[0], c.want) {
			t.Errorf("%s: asked for %v, planned %v", c.body, n.asked, n.planned)
		}
	}
}

func TestChangesThatMakeNoSense(t *testing.T) {
	for _, c := range []struct{ request, body, field, detail string }{
		{"POST /v1/layout/changes", `{}`, "kind", "decommission, remove, replace"},
		{"POST /v1/layout/changes", `{"kind":"shrink"}`, "kind", "decommission"},
		{"POST /v1/layout/changes", `{"kind":"remove"}`, "node", "id"},
		{"POST /v1/layout/changes", `{"kind":"zone","node":"a"}`, "zone", "goes to"},
		{"POST /v1/layout/changes", `{"kind":"replication","factors":{"dc1":1}}`, "keyspace", "keyspace"},
		{"POST /v1/layout/changes", `{"kind":"replication","keyspace":"k"}`, "factors", "dc1"},
		{"POST /v1/layout/changes", `{"kind":"replication","keyspace":"k","factors":{"dc1":0}}`, "factors", "at least 1"},
		{"POST /v1/layout/changes", `{"kind":"join","add":["z1"]}`, "kind", "--join"},
		{"POST /v1/layout/plan", `{"kind":"join"}`, "add", "zones"},
		{"POST /v1/layout/plan", `{"kind":"join","add":["z1",""]}`, "add", "empty"},
		{"POST /v1/layout/plan", `{"kind":"remove","node":"a","add":["z1"]}`, "add", "join alone"},
		{"POST /v1/layout/plan", `{"kind":"remove","nod":"a"}`, "nod", `no field "nod"`},
		{"POST /v1/layout/plan", `{"kind":"remove","node":"a"} x`, "", "follows"},
		{"POST /v1/layout/plan", `nonsense`, "", "cannot be read"},
		{"POST /v1/recover", `{"cluster_name":"flock","reason":"fire"}`, "survivors", "survive"},
		{"POST /v1/recover", `{"survivors":["a"],"reason":"fire"}`, "cluster_name", "confirm"},
		{"POST /v1/recover", `{"survivors":["a"],"cluster_name":"flock","reason":" "}`, "reason", "reason"},
		{"POST /v1/recover", `{"survivor":["a"]}`, "survivor", "no field"},
	} {
		n := &fakeNode{}
		w := do(newServer(t, n, nil), c.request, c.body)
		var v struct{ Field, Detail string }
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != 400 || v.Field != c.field || !strings.Contains(v.Detail, c.detail) ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %d %s", c.request, c.body, w.Code, w.Body)
		}
		if len(n.asked)+len(n.planned)+len(n.recovered) > 0 {
			t.Errorf("%s %s reached the node", c.request, c.body)
		}
	}
}

func TestRefusedChanges(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{fmt.Errorf("node: %w", conflict(true)), 409},
		{conflict(false), 400},
		{ring.ErrChanging, 409},
		{&ring.GainsError{Ranges: 3}, 409},
		{errors.New("x is no member"), 400},
		{&schema.NotFoundError{Table: "k.t"}, 404},
		{&catalog.NoMajorityError{Voters: 3, Need: 2, Alive: 1, Cause: conflict(true)}, 503},
		{fmt.Errorf("node: %w", context.DeadlineExceeded), 503},
		{catalog.ErrNoCatalog, 503},
		{fmt.Errorf("node: %w", errors.ErrUnsupported), 501},
	} {
		n := &fakeNode{}
		s := newServer(t, n, nil)
		n.changeErr = c.err
		for request, body := range map[string]string{
			"POST /v1/layout/plan":     `{"kind":"remove","node":"a"}`,
			"POST /v1/layout/changes":  `{"kind":"remove","node":"a"}`,
			"DELETE /v1/layout/change": ``,
			"POST /v1/recover":         `{"survivors":["a"],"cluster_name":"flock","reason":"fire"}`,
		} {
			w := do(s, request, body)
			var v struct{ Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != c.status || v.Detail != c.err.Error() {
				t.Errorf("%v, %s: %d %s", c.err, request, w.Code, w.Body)
			}
		}
	}
}

func TestProgressAndAbort(t *testing.T) {
	n := &fakeNode{}
	s := newServer(t, n, nil)
	if w := do(s, "GET /v1/layout/change", ""); w.Code != 204 || w.Body.Len() > 0 {
		t.Errorf("no change: %d %s", w.Code, w.Body)
	}
	if w := do(s, "GET /v1/status", ""); w.Code != 200 || strings.Contains(w.Body.String(), `"change"`) {
		t.Errorf("no change: %d %s", w.Code, w.Body)
	}
	n.progress = &ChangeProgress{
		ID: 7, Kind: KindRemove, Phase: "streaming", Since: time.Unix(0, 0).UTC(), Ranges: 12, Done: 3, BytesTotal: 100, BytesDone: 25,
		Nodes: []NodeProgress{{ID: "a", State: "joining", Ranges: 12, Done: 3}}, Waiting: []string{"node b is not alive"},
	}
	const want = `{"id":7,"kind":"remove","phase":"streaming","since":"1970-01-01T00:00:00Z","ranges":12,"done":3,"bytes_total":100,"bytes_done":25,` +
		`"rows_done":0,"nodes":[{"id":"a","state":"joining","ranges":12,"done":3,"bytes_done":0}],"waiting":["node b is not alive"]}`
	if w := do(s, "GET /v1/layout/change", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("progress: %d %s", w.Code, w.Body)
	}
	if w := do(s, "GET /v1/status", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"change":`+want) {
		t.Errorf("status: %d %s", w.Code, w.Body)
	}
	n.aborted = []Aborted{{Aborted: true, Kind: KindRemove, Change: 7}, {}}
	for _, want := range []string{`{"aborted":true,"kind":"remove","change":7}`, `{"aborted":false}`} {
		if w := do(s, "DELETE /v1/layout/change", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("abort: %d %s, want %s", w.Code, w.Body, want)
		}
	}
	if w := do(s, "POST /v1/recover", `{"survivors":["a","b"],"cluster_name":"flock","reason":"fire"}`); w.Code != 204 ||
		len(n.recovered) != 1 || !reflect.DeepEqual(n.recovered[0], RecoverRequest{Survivors: []string{"a", "b"}, ClusterName: "flock", Reason: "fire"}) {
		t.Errorf("recover: %d %s, %v", w.Code, w.Body, n.recovered)
	}
}
