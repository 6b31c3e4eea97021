package sim

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/node"
)

// TestTwoClustersShareASeed: a node that founded a cluster of its own, of the same
// name, is given the members of another as seeds. It does not serve, and neither takes
// the other's nodes.
func TestTwoClustersShareASeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone := true
		o := newGrowingOf(t, 4, 4, everyday.at("10.0.0.4", func(c *node.Config) {
			if alone {
				c.Bootstrap, c.Join = true, nil
			}
		}))
		o.write()
		before := o.node(0).View()
		if n := o.node(3).View().Ring.Members(); before.Ring.Members() != 3 || n != 1 {
			t.Fatalf("%d and %d members", before.Ring.Members(), n)
		}
		o.c.Stop(3)
		alone = false
		o.c.Start(3)
		time.Sleep(time.Minute)
		problems := o.c.Problems()
		if len(problems) != 1 || !strings.Contains(problems[0], "whose data is in its directory") {
			t.Errorf("the node that belongs elsewhere: %v", problems)
		}
		o.client.nodes = o.c.addresses()[:3]
		o.write()
		o.readAll()
		if after := o.node(0).View(); after.Version != before.Version || after.Ring.Members() != 3 {
			t.Errorf("version %d became %d, %d members", before.Version, after.Version, after.Ring.Members())
		}
		o.client.close()
		o.c.Close()
	})
}
