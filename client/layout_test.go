package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestLayoutRequests: each method sends what the admin port reads, and returns what
// it answers.
func TestLayoutRequests(t *testing.T) {
	var got, answer string
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = r.Method + " " + r.URL.Path + " " + string(body)
		if status >= 400 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	a, err := NewAdmin(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	change := ChangeRequest{Kind: "zone", Node: "a", Zone: "z2"}
	none := func(err error) (json.RawMessage, error) { return nil, err }
	for _, c := range []struct {
		call         func(context.Context) (json.RawMessage, error)
		want, answer string
		status       int
	}{
		{func(ctx context.Context) (json.RawMessage, error) { return a.Plan(ctx, change) },
			`POST /v1/layout/plan {"kind":"zone","node":"a","zone":"z2"}`, `{"kind":"zone"}`, 200},
		{func(ctx context.Context) (json.RawMessage, error) { return a.Change(ctx, change) },
			`POST /v1/layout/changes {"kind":"zone","node":"a","zone":"z2"}`, `{"change":7}`, 202},
		{func(ctx context.Context) (json.RawMessage, error) {
			return a.Plan(ctx, ChangeRequest{Kind: "join", Add: []string{"z1"}, Remove: []string{"b"}})
		}, `POST /v1/layout/plan {"kind":"join","add":["z1"],"remove":["b"]}`, `{"kind":"join"}`, 200},
		{func(ctx context.Context) (json.RawMessage, error) {
			return a.Change(ctx, ChangeRequest{Kind: "replication", Keyspace: "k", Factors: map[string]int{"dc1": 3}})
		}, `POST /v1/layout/changes {"kind":"replication","keyspace":"k","factors":{"dc1":3}}`, `{}`, 200},
		{a.Progress, `GET /v1/layout/change `, `{"id":7}`, 200},
		{a.Progress, `GET /v1/layout/change `, ``, 204},
		{a.Abort, `DELETE /v1/layout/change `, `{"aborted":true}`, 200},
		{func(ctx context.Context) (json.RawMessage, error) {
			return none(a.Recover(ctx, RecoverRequest{Survivors: []string{"a"}, ClusterName: "flock", Reason: "fire"}))
		}, `POST /v1/recover {"survivors":["a"],"cluster_name":"flock","reason":"fire"}`, ``, 204},
	} {
		status, answer = c.status, c.answer
		raw, err := c.call(t.Context())
		if err != nil || got != c.want || string(raw) != c.answer || c.answer == "" && raw != nil {
			t.Errorf("sent %s, want %s; %q %v", got, c.want, raw, err)
		}
		status, answer = http.StatusConflict, `{"detail":"another change is on its way","field":"kind"}`
		var p *Problem
		if _, err := c.call(t.Context()); !errors.As(err, &p) || p.Status != 409 || p.Detail != "another change is on its way" || p.Field != "kind" {
			t.Errorf("%s, refused: %v", c.want, err)
		}
	}
}
