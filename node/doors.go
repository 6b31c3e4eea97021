package node

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/dunlindb/dunlin/admin"
	"github.com/dunlindb/dunlin/event"
	"github.com/dunlindb/dunlin/httpapi"
)

// frontDoors are the ports for clients and operators: taken by Open, served by
// Run.
type frontDoors struct {
	api           *httpapi.API
	admin         *admin.Server
	httpListener  net.Listener
	adminListener net.Listener
}

func (n *Node) openFrontDoors() (*frontDoors, error) {
	adminListener, err := n.listen(n.cfg.Listen.AdminPort, "listen.admin_port")
	if err != nil {
		return nil, err
	}
	httpListener, err := n.listen(n.cfg.Listen.HTTPPort, "listen.http_port")
	if err != nil {
		return nil, err
	}
	guard, err := httpapi.NewGuard(n.cfg.httpapi().Hosts, n.cfg.HTTPOrigins)
	if err != nil {
		return nil, err
	}
	ops, err := admin.New(admin.Env{Node: n, Gatherer: n.env.Registry, Check: guard.Check})
	if err != nil {
		return nil, err
	}
	api, err := n.openHTTP()
	if err != nil {
		return nil, err
	}
	return &frontDoors{api: api, admin: ops, httpListener: httpListener, adminListener: adminListener}, nil
}

func (n *Node) openHTTP() (*httpapi.API, error) {
	var incarnation [4]byte
	if _, err := io.ReadFull(n.env.Entropy, incarnation[:]); err != nil {
		return nil, fmt.Errorf("node: draw an incarnation: %w", err)
	}
	ids := event.NewIDs(uint32(incarnation[0])<<24 | uint32(incarnation[1])<<16 | uint32(incarnation[2])<<8 | uint32(incarnation[3]))
	return httpapi.New(n.cfg.httpapi(), httpapi.Env{
		Coordinator: httpapi.Coordinated(n.coordinator), View: n.catalog.View, Physical: n.wall.Now,
		IDs: ids, Logger: n.log, Registerer: n.env.Registry,
	})
}

func (d *frontDoors) runAdmin(ctx context.Context) error {
	return d.admin.Run(ctx, d.adminListener)
}

func (d *frontDoors) runHTTP(ctx context.Context) error {
	return d.api.Run(ctx, d.httpListener)
}
