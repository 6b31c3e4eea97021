package antientropy

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/schema"
	"github.com/dunlindb/dunlin/token"
)

// steady steps a node as its job does, until a condition holds.
func (n *node) steady(t *testing.T, most time.Duration, holds func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > most {
			t.Fatalf("not done after %s", most)
		}
		idle, err := n.ae.Step(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if idle {
			time.Sleep(max(n.ae.Pause(), time.Millisecond))
		}
	}
	return time.Since(began)
}

// TestSlowPeer: the link to one peer is slow. That slows the comparison with it, but
// hardly the one with another peer, whether both are urgent or not.
func TestSlowPeer(t *testing.T) {
	const partitions, lan, wan = 60, time.Millisecond, 200 * time.Millisecond
	took := func(urgent bool, slow time.Duration) (fast, all time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, 3, func(cfg *Config) {
				d := DefaultConfig()
				cfg.Share, cfg.HurryShare = d.Share, d.HurryShare
			})
			a := c.nodes[0]
			for i := range partitions {
				a.apply(t, put(t, fmt.Sprint("p", i), 1, 1, "v"))
			}
			time.Sleep(time.Minute)
			for _, n := range c.nodes[1:] {
				n.steps(t, 10_000) // their leaves are hashed
			}
			c.intercept = func(from, to int, _ string, _ []byte) error {
				link := lan
				if from == 2 || to == 2 {
					link = slow
				}
				time.Sleep(link)
				return nil
			}
			if urgent {
				a.ae.Hurry(Scope{})
			}
			verified := func(peer int) func() bool {
				return func() bool {
					for i := range partitions {
						if a.ae.Verified(schema.BuiltinKeyspace, token.Of(fmt.Append(nil, "p", i)).Range(), nodeID(peer)) == 0 {
							return false
						}
					}
					return true
				}
			}
			fast = a.steady(t, time.Hour, verified(1))
			all = fast + a.steady(t, time.Hour, verified(2))
			c.checkEqual(t)
		})
		return fast, all
	}
	for _, urgent := range []bool{true, false} {
		before, _ := took(urgent, lan)
		fast, all := took(urgent, wan)
		t.Logf("urgent %v: the fast peer is done after %s, beside a slow one after %s, which is done after %s", urgent, before, fast, all)
		if fast > 3*before {
			t.Errorf("urgent %v: one slow peer slows the comparison with another from %s to %s", urgent, before, fast)
		}
	}
}
