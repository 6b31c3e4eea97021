package transport

import (
	"google.golang.org/grpc"

	"github.com/dunlindb/dunlin/transport/rpc"
	"github.com/dunlindb/dunlin/transport/wire"
)

// message is what passes through gRPC; connection carries one stream or call.
type (
	message    = rpc.Message
	connection = rpc.Conn
)

// frameSlack is what a frame may exceed its largest item by: header, and acks
// packed behind it.
const frameSlack = 512 << 10

// receiveMax bounds any message that this node receives.
func (t *Transport) receiveMax() int {
	return max(t.cfg.RequestBytes+frameSlack, t.cfg.AnswerBytes+frameSlack, t.cfg.ControlBytes+2*wire.HelloMax)
}

// newServer makes the gRPC server; Run serves the gate with it.
func (t *Transport) newServer() *grpc.Server {
	return rpc.NewServer(rpc.Config{Pool: t.pool, ReceiveMax: t.receiveMax(), Handshake: t.cfg.HelloTimeout},
		rpc.Handlers{Control: t.serveControl, Exchange: t.serveExchange})
}

// connect prepares a connection; it is dialled with the first call.
func (t *Transport) connect(address string) (*connection, error) {
	return rpc.Connect(rpc.Config{Pool: t.pool, ReceiveMax: t.receiveMax(), Handshake: t.cfg.DialTimeout}, address, t.env.Dial)
}
