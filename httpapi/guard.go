package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/dunlindb/dunlin/httpapi/problem"
)

// Guard keeps web pages away from a node that runs on their reader's machine: it
// knows by which names the node may be addressed (so that a name which a foreign
// server points at this machine is refused), and which pages may write.
type Guard struct {
	hosts  map[string]bool
	anyIP  bool // the node listens on every address
	origin *http.CrossOriginProtection
}

// NewGuard makes a guard from host names without ports, and from web origins.
func NewGuard(hosts, origins []string) (*Guard, error) {
	g := &Guard{hosts: map[string]bool{"localhost": true}, origin: http.NewCrossOriginProtection()}
	for _, h := range hosts {
		if ip := net.ParseIP(strings.Trim(h, "[]")); ip != nil && ip.IsUnspecified() {
			g.anyIP = true
			continue
		}
		g.hosts[canonicalHost(h)] = true
	}
	for _, o := range origins {
		if err := g.origin.AddTrustedOrigin(o); err != nil {
			return nil, fmt.Errorf("httpapi: origin %q: %w", o, err)
		}
	}
	return g, nil
}

// Known reports whether a Host header names this node.
func (g *Guard) Known(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = canonicalHost(host)
	return g.hosts[host] || g.anyIP && net.ParseIP(host) != nil
}

// Check refuses a request that is not addressed to this node, and a write that
// comes from a foreign web page. The error is a *problem.ForbiddenError.
func (g *Guard) Check(r *http.Request) error {
	if !g.Known(r.Host) {
		return &problem.ForbiddenError{Header: "Host", Reason: fmt.Sprintf("%.100q is not a name of this node; http.hosts lists further ones", r.Host)}
	}
	if r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return nil
	}
	if err := g.origin.Check(r); err != nil {
		return &problem.ForbiddenError{Header: "Origin", Reason: fmt.Sprintf("%.100q: its pages may not write to this node", r.Header.Get("Origin"))}
	}
	return nil
}

// canonicalHost is a host without brackets, final dot and capitals.
func canonicalHost(h string) string {
	h = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(h, "["), "]"), ".")
	return strings.ToLower(h)
}
