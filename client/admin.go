package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Admin talks to one node's admin port.
type Admin struct {
	base string
	http *http.Client
}

// NewAdmin makes a client of an admin port, such as http://127.0.0.1:7483.
func NewAdmin(base string) (*Admin, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("client: %q is no admin port: give a URL such as http://127.0.0.1:7483", base)
	}
	return &Admin{base: strings.TrimSuffix(base, "/"), http: &http.Client{Timeout: 20 * time.Second}}, nil
}

// Status returns the node's status as JSON.
func (a *Admin) Status(ctx context.Context) (json.RawMessage, error) {
	return a.call(ctx, http.MethodGet, "/v1/status", nil)
}

// Layout returns the owner table's summary as JSON.
func (a *Admin) Layout(ctx context.Context) (json.RawMessage, error) {
	return a.call(ctx, http.MethodGet, "/v1/layout", nil)
}

// Hints returns what a node keeps for others, as JSON.
func (a *Admin) Hints(ctx context.Context) (json.RawMessage, error) {
	return a.call(ctx, http.MethodGet, "/v1/hints", nil)
}

// ReplayHints makes a node replay at once what it keeps for nodes that are alive,
// and returns what Hints does.
func (a *Admin) ReplayHints(ctx context.Context) (json.RawMessage, error) {
	return a.call(ctx, http.MethodPost, "/v1/hints", nil)
}

// Repair returns what anti-entropy has done and has before it, as JSON.
func (a *Admin) Repair(ctx context.Context) (json.RawMessage, error) {
	return a.call(ctx, http.MethodGet, "/v1/repair", nil)
}

// RepairNow hurries anti-entropy for a table ("keyspace.table"), or all if it is
// empty, and returns what Repair does.
func (a *Admin) RepairNow(ctx context.Context, table string) (json.RawMessage, error) {
	path := "/v1/repair"
	if table != "" {
		path += "?table=" + url.QueryEscape(table)
	}
	return a.call(ctx, http.MethodPost, path, nil)
}

// TableSettings are changes of a table; empty fields change nothing.
type TableSettings struct {
	Retention  string `json:"retention,omitempty"` // "30d", "26w", "36h", or "unlimited"
	Sloppy     *bool  `json:"sloppy,omitempty"`
	ReadRepair string `json:"read_repair,omitempty"` // "blocking", "async" or "off"
}

// SetTable changes settings of a table ("keyspace.table").
func (a *Admin) SetTable(ctx context.Context, table string, change TableSettings) (json.RawMessage, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	return a.call(ctx, http.MethodPut, "/v1/tables/"+url.PathEscape(table), body)
}

func (a *Admin) call(ctx context.Context, method, path string, body []byte) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, answerMax))
	if err != nil {
		return nil, fmt.Errorf("client: read the answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		return nil, newProblem(resp.StatusCode, resp.Header, data)
	}
	return data, nil
}
